"""Judges Cube's evidence bundles; written from docs/spec alone, to show that it is enough for that.

Reading order: `judge_bundle` near the end follows docs/spec/verdict.md check by check; what it looks at stands above it. The
policy is taken to be well-formed.
"""

import base64
import hashlib
import re
import struct
import tomllib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.hashes import SHA384

from strict import U32, U64, Refused, b64, b64u, check, checked, need, number, strict, text, word

PURPOSES = {"boot": 1, "fresh": 2, "cached": 3, "peer": 5}
BINDINGS = {"none": 0, "tls-exporter": 1, "tls-spki": 2, "hpke": 3, "enrolment": 4}
ROLES = {"server": 1, "client": 2}
BINDING = {"type": word(*BINDINGS), "role": word(*ROLES), "listener": text, "leaf_spki_sha256": b64u(32)}
BUNDLE = {
    "v": number(1, 2), "profile": word("urn:uuid:35ee822c-5f51-4575-92b6-637647580d55"), "purpose": word(*PURPOSES),
    "challenge": {"nonce": b64u(32)}, "tree": {"n": U32, "index": U32, "path": [b64u(48)]},
    "binding": BINDING | {"label?": text},
    "evidence": {"format": word("amd-sev-snp-report", "simulated-amd-sev-snp-report"), "report": b64},
    "endorsements": {"vek_type?": word("vcek", "vlek"), "vek?": b64, "ask?": b64, "asvk?": b64, "ark?": b64, "crl?": b64},
    "key_manifest": b64, "runtime_claims": b64,
}
MANIFEST = {
    "v": number(1, 2), "trust_domain": text, "instance": text, "boot_seed": b64u(32), "version": number(1, 1 << 64),
    "prev?": b64u(48), "keys": [{"use": word("ca", "token", "tls"), "alg": word("P-256", "P-384"), "spki": b64,
                                 "sha256": b64u(32), "owner": text, "listener?": text, "seq": U64}],
}
CLAIMS = {
    "eat_profile": word("urn:uuid:e2805c00-b340-4897-bf4b-ea873e49e3b1"), "bootseed": b64u(32), "oemid": U32,
    "hwmodel": text, "dbgstat": word("enabled", "disabled-permanently"), "swname": text, "swversion": text,
    "measured_config_sha256": b64u(32), "policy_sha256": b64u(32), "audit_head": b64u(32), "audit_seq": U64,
}


def read_bundle(data):
    bundle = strict(data, BUNDLE, 65_536)
    label = "EXPORTER-Channel-Binding" if bundle["binding"]["type"] == "tls-exporter" else None
    need((bundle["endorsements"]["vek"] is None) == (bundle["endorsements"]["vek_type"] is None))
    need(bundle["binding"]["label"] == label)
    return bundle


def read_manifest(data):
    manifest = strict(data, MANIFEST, 32_768)
    need(len(manifest["keys"]) <= 64 and (manifest["version"] == 1) == (manifest["prev"] is None))
    for key in manifest["keys"]:
        need(hashlib.sha256(key["spki"]).digest() == key["sha256"])
        need((key["use"] == "tls") == (key["listener"] is not None))
    return manifest


# report_data (report-data.md).


def sha384(*parts):
    return hashlib.sha384(b"".join(parts)).digest()


def lp(data):
    return len(data).to_bytes(4, "big") + data


def climb(leaf, n, index, path):
    need(index < n and bool(path) == (n > 1))
    if n == 1:
        return leaf
    left = 1 << (n - 1).bit_length() - 1
    if index < left:
        return sha384(b"\1", climb(leaf, left, index, path[:-1]), path[-1])
    return sha384(b"\1", path[-1], climb(leaf, n - left, index - left, path[:-1]))


def tree_root(challenge, tree):
    own = challenge["binding"]
    binder = bytes([BINDINGS[own["type"]], ROLES[own["role"]]]) + lp(own["leaf_spki_sha256"])
    binder += lp(own["exporter"] or b"") + lp(own["listener"].encode())
    leaf = sha384(b"\0cube/nonce-tree/v1", lp(challenge["nonce"]), lp(binder))
    return sha384(b"\2", tree["n"].to_bytes(4, "big"), climb(leaf, tree["n"], tree["index"], tree["path"]))


def report_data(purpose, root, manifest, claims):
    parts = b"".join(map(lp, (root, sha384(manifest), sha384(claims))))
    return hashlib.sha512(b"cube/report-data/v1\0" + bytes([PURPOSES[purpose]]) + parts).digest()


# The report (verdict.md, report.structure; AMD 56860, 7.3). `rest` is reserved.

LAYOUT = "<IIQ16s16sII8sQI4s64s48s32s48s48s32s32s8sBBB21s64s8s3ss3ss8sQQ152s48s24s48s24s368s"
NAMES = (
    "version guest_svn policy family_id image_id vmpl algorithm current_tcb platform_info key_info rest report_data "
    "measurement host_data id_key author_key report_id report_id_ma reported_tcb family model stepping rest chip_id "
    "committed_tcb current_firmware rest committed_firmware rest launch_tcb launch_mask current_mask rest r rest s rest rest"
).split()
LEVELS = {"milan": {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}}
LEVELS |= {"genoa": LEVELS["milan"], "turin": {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}}


def read_report(data):
    need(len(data) == 1184)
    fields = list(zip(NAMES, struct.unpack(LAYOUT, data), strict=True))
    report = dict(fields)
    need(not any(any(value) for name, value in fields if name == "rest"))
    need(2 <= report["version"] <= 5 and report["policy"] & ~0x1FFFF & ~(0xFF << 18) == 1 << 17)
    need(report["vmpl"] in (0, 1, 2, 3, 0xFFFFFFFF) and not report["key_info"] >> 5)
    need(report["version"] > 2 or not (report["family"] or report["model"] or report["stepping"]))
    need(report["version"] > 4 or not (report["launch_mask"] or report["current_mask"]))
    for firmware in ("current_firmware", "committed_firmware"):
        report[firmware] = list(reversed(report[firmware]))
    return report


def product_of_cpu(family, model):
    lines = {0x19: ["milan"] + ["genoa"] + [None] * 8 + ["genoa"] + [None] * 5, 0x1A: ["turin"] + [None] * 15}
    line = lines.get(family, [None] * 16)[model >> 4]
    return "turin" if (family, model) in ((0x1A, 0x10), (0x1A, 0x11)) else line


def tcb(s, which):
    return {level: s[which + "_tcb"][at] for level, at in LEVELS[s["product"]].items()}


def covers(one, least):
    return one.keys() == least.keys() and all(one[level] >= least[level] for level in one)


# Certificates and lists (verdict.md; AMD 57230). What stands around the signed part, and how that was signed, is nobody's word,
# and compared here byte by byte; what is signed is left to the library.

SHA384_ID = bytes.fromhex("300d06096086480165030402020500")
PSS_ID = bytes.fromhex("06092a864886f70d01010a")
PSS = b"\xa0\x0f%b\xa1\x1c\x30\x1a%b%b\xa2\x03\x02\x01\x30" % (SHA384_ID, PSS_ID[:-1] + b"\x08", SHA384_ID)
TRAILER = b"\xa3\x03\x02\x01\x01"
AMD = "1.3.6.1.4.1.3704.1."


def elements(der, *tags):
    """(whole, content) of DER elements that have exactly these tags."""
    found = []
    for tag in tags:
        need(len(der) >= 2 and der[0] == tag and der[1] <= 0x82 and der[1] != 0x80)
        header = 2 if der[1] < 0x80 else der[1] - 0x80 + 2
        length = der[1] if header == 2 else int.from_bytes(der[2:header], "big")
        need(length >= (0, 0x80, 0x100)[header - 2] and len(der) >= header + length)
        found.append((der[: header + length], der[header : header + length]))
        der = der[header + length :]
    need(not der)
    return found


def check_signed(reason, by, der):
    """`der` is signed by this certificate's key in AMD's way; nothing else of it is read for that."""

    def parts():
        ((_, outer),) = elements(der, 0x30)
        (message, _), (_, algorithm), (_, bits) = elements(outer, 0x30, 0x30, 0x03)
        need(bits[:1] == b"\0" and len(bits) > 1 and algorithm.startswith(PSS_ID))
        ((_, parameters),) = elements(algorithm[len(PSS_ID) :], 0x30)
        need(parameters in (PSS, PSS + TRAILER))
        return bits[1:], message

    try:
        by.public_key().verify(*checked(reason, parts), padding.PSS(padding.MGF1(SHA384()), 48), SHA384())
    except InvalidSignature:
        raise Refused(reason) from None


def read_certificate(der):
    found = x509.load_der_x509_certificate(der)
    known = x509.BasicConstraints.oid, x509.KeyUsage.oid
    need(found.version == x509.Version.v3 and has_one_algorithm(found.tbs_certificate_bytes, der))
    need(all(not extension.critical or extension.oid in known for extension in found.extensions))
    # Some of it is read only when it is asked for.
    need(found.issuer and found.subject and found.not_valid_before_utc and found.not_valid_after_utc)
    return found


def read_list(der):
    found = x509.load_der_x509_crl(der)
    partial = x509.DeltaCRLIndicator, x509.IssuingDistributionPoint
    need(found.issuer and found.next_update_utc and has_one_algorithm(found.tbs_certlist_bytes, der))
    need(not any(e.critical or isinstance(e.value, partial) for e in found.extensions))
    need(not any(e.critical for entry in found for e in entry.extensions))
    return found


def has_one_algorithm(message, der):
    """The signed part states the algorithm that follows it."""
    after = der[der.index(message) + len(message) :]
    return after[: 2 + after[1]] in message


def common_name(of):
    names = of.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return names[0].value if len(names) == 1 else None


def extension(certificate, kind):
    return next((e.value for e in certificate.extensions if isinstance(e.value, kind)), None)


def is_ca(certificate):
    constraints, usage = extension(certificate, x509.BasicConstraints), extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def organisation(of):
    return [attribute for attribute in of if attribute.oid != x509.NameOID.COMMON_NAME]


def level(der):
    ((_, value),) = elements(der, 0x02)
    found = int.from_bytes(value, "big")
    need(found <= 255 and value == found.to_bytes(1 if found < 128 else 2, "big"))
    return found


def ia5(der):
    return elements(der, 0x16)[0][1].decode("ascii")


def read_vek(vek, product):
    """Certified levels, chip and provider."""
    of_amd = [e for e in vek.extensions if e.oid.dotted_string.startswith(AMD)]
    amd = {e.oid.dotted_string.removeprefix(AMD): e.value.value for e in of_amd}
    need(isinstance(vek.public_key(), ec.EllipticCurvePublicKey) and vek.public_key().key_size == 384)
    need(level(amd.get("1", b"")) in (0, 1))
    parts = {"bootloader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}
    for oid in {oid for oid in amd if oid.split(".")[0] == "3"} - set(parts.values()):
        need(oid in ("3.4", "3.5", "3.6", "3.7") and level(amd[oid]) == 0)
    levels = {part: level(amd.get(oid, b"")) for part, oid in parts.items() if part != "fmc" or oid in amd}
    need(ia5(amd.get("2", b"")).partition("-")[0] == product.capitalize())
    return {"certified": levels, "hwid": amd.get("4"), "csp": ia5(amd["5"]) if "5" in amd else None}


# The policy's rules (policy.md), by their places in the file: whether the report `s` meets one.

FEATURES = {21: "cxl", 22: "memory_aes_256_xts", 23: "rapl_disabled", 24: "ciphertext_hiding", 25: "page_swap_disabled"}
PLATFORM = "smt tsme ecc rapl_disabled ciphertext_hiding alias_check_complete iommu_write_safe tio".split()


def of_product(rule, s):
    """The rule, or what it has for this product; `None` where it names others only."""
    return rule.get(s["product"]) if isinstance(rule, dict) and set(rule) & set(LEVELS) else rule


def has_bits(rule, s, value, names):
    rule, found = of_product(rule, s), {name for bit, name in names.items() if value >> bit & 1}
    return rule is not None and set(rule["set"]) <= found and not set(rule["clear"]) & found


def at_least(found, least):
    return least is not None and found >= [int(part) for part in least.split(".")]


def has_masks(rule, s):
    least = rule["minimum"].get(s["product"])
    masks = [(s[when + "_mask"], int(least[when], 16)) for when in ("launch", "current")] if least else []
    return s["version"] == 5 and masks and all(found & mask == mask for found, mask in masks)


def is_ordered(s):
    reported, committed, launch, current = (tcb(s, w) for w in ("reported", "committed", "launch", "current"))
    levels = covers(committed, reported) and covers(current, committed) and covers(current, launch)
    return levels and s["current_firmware"] >= s["committed_firmware"]


def is_committed(s):
    return s["committed_firmware"] == s["current_firmware"] and tcb(s, "committed") == tcb(s, "current")


def is_accepted(rules, s):
    rule = rules[s["product"]]
    return rule["allow"] == "any" or (s["vek_type"] == "vcek" and s["chip"].hex() in rule["chips"])


def listed(field):
    return lambda rule, s: s[field].hex() in rule["allow"]


def floor(which):
    return lambda rule, s: covers(tcb(s, which), rule["minimum"].get(s["product"], {}))


RULES = {
    "report_version": lambda rule, s: s["version"] in rule["allow"],
    "product": is_accepted,
    "guest_policy.debug": lambda _, s: not s["policy"] >> 19 & 1,
    "guest_policy.migration_agent": lambda _, s: not s["policy"] >> 18 & 1,
    "guest_policy.smt": lambda _, s: not s["policy"] >> 16 & 1,
    "guest_policy.single_socket": lambda _, s: s["policy"] >> 20 & 1,
    "guest_policy.abi": lambda rule, s: at_least([s["policy"] >> 8 & 255, s["policy"] & 255], rule["minimum"]),
    "guest_policy.features": lambda rule, s: has_bits(rule, s, s["policy"], FEATURES),
    "vmpl": lambda rule, s: s["vmpl"] in rule["allow"],
    "tcb.reported": floor("reported"),
    "tcb.committed": floor("committed"),
    "tcb.launch": floor("launch"),
    "tcb.current": floor("current"),
    "tcb.committed_is_current": lambda _, s: is_committed(s),
    "tcb.ordered": lambda _, s: is_ordered(s),
    "firmware_version": lambda rule, s: at_least(s["committed_firmware"], of_product(rule["minimum"], s)),
    "platform_info": lambda rule, s: has_bits(rule, s, s["platform_info"], dict(enumerate(PLATFORM)))
    and not s["platform_info"] >> len(PLATFORM),
    "mitigations": has_masks,
    "id_key": listed("id_key"),
    "author_key": lambda rule, s: s["key_info"] & 1 and s["author_key"].hex() in rule["allow"],
    "family_id": listed("family_id"),
    "image_id": listed("image_id"),
    "guest_svn": lambda rule, s: s["guest_svn"] >= rule["minimum"],
    "report_id": listed("report_id"),
    "report_id_ma": lambda rule, s: s["report_id_ma"].hex() in (["ff" * 32] if rule == "forbid" else rule["allow"]),
    "measurement": listed("measurement"),
    "host_data": listed("host_data"),
    "vlek.csp": lambda rule, s: s["vek_type"] == "vcek" or s["csp"] in rule["allow"],
    "gpu_evidence": lambda *_: False,
}


def rule_of(policy, place):
    for part in place.split("."):
        policy = policy[part]
    return policy


def is_off(rule):
    return isinstance(rule, dict) and set(rule) == {"off"}


# Judgement (verdict.md).


def judge_bundle(question):
    policy, challenge, now = tomllib.loads(question["policy"]), question["challenge"], question["now"]
    pems = re.findall("-----BEGIN CERTIFICATE-----(.*?)-----END", question["roots"]["pem"], re.DOTALL)
    roots = {common_name(read_certificate(der).subject): der for der in map(base64.b64decode, pems)}
    challenge["nonce"], own = b64u(32)(challenge["nonce"]), challenge["binding"]
    own |= {name: own[name] and b64u(32)(own[name]) for name in ("leaf_spki_sha256", "exporter")}

    bundle = checked("bundle.structure", read_bundle, base64.b64decode(question["bundle"]))
    check("bundle.purpose", bundle["purpose"] == challenge["purpose"])
    check("bundle.nonce", bundle["challenge"]["nonce"] == challenge["nonce"])
    check("bundle.binding", all(bundle["binding"][name] == own[name] for name in BINDING))
    root = checked("bundle.tree", tree_root, challenge, bundle["tree"])
    check("evidence.format", bundle["evidence"]["format"] == question["roots"]["format"])
    s, chain = judge_report(bundle["evidence"]["report"], bundle["endorsements"], roots, now)
    if not is_off(policy["crl"]):
        judge_list(policy["crl"], bundle["endorsements"]["crl"], chain, now)
    data = report_data(challenge["purpose"], root, bundle["key_manifest"], bundle["runtime_claims"])
    check("report_data", s["report_data"] == data)
    for place, is_met in RULES.items():
        check(place, is_off(rule_of(policy, place)) or is_met(rule_of(policy, place), s))
    judge_instance(bundle, policy, own, s)


def judge_report(data, given, roots, now):
    """The report's fields and the chain, both genuine."""
    s = checked("report.structure", read_report, data)
    signer = {0: "vcek", 1: "vlek"}.get(s["key_info"] >> 2 & 7)
    check("report.signing_key", signer and given["vek_type"] in (None, signer) and not s["key_info"] & 2)
    check("collateral.vek", given["vek"] is not None)
    s["vek_type"], by_vcek = signer, signer == "vcek"
    s["product"] = product_of_cpu(s["family"], s["model"]) if s["version"] > 2 else product_of_issuer(given)
    check("report.product", s["product"])
    line, chip_size = s["product"].capitalize(), 8 if s["product"] == "turin" else 64
    s["chip"] = s["chip_id"][:chip_size]
    reserved = set(range(8)) - set(LEVELS[s["product"]].values())
    tcbs = [s[which + "_tcb"] for which in ("current", "reported", "committed", "launch")]
    check("report.product_reserved", not any(raw[at] for raw in tcbs for at in reserved))
    check("report.product_reserved", not any(s["chip_id"][chip_size:]))

    names = {"ark": f"ARK-{line}", "ask": f"SEV-{line}", "asvk": f"SEV-VLEK-{line}"}
    check("chain.pinned_root", names["ark"] in roots)
    check("chain.offered_ca", all(given[ca] in (None, roots[name]) for ca, name in names.items()))
    check("chain.offered_ca", by_vcek or given["ask"] is None or given["asvk"] is not None)
    check("collateral.asvk", by_vcek or given["asvk"] is not None)
    names = names["ark"], names["ask" if by_vcek else "asvk"], f"SEV-{signer.upper()}"
    ders = roots[names[0]], roots[names[1]], given["vek"]
    ark, issuer = map(read_certificate, ders[:2])
    issuers = ark, ark, issuer
    for der, by in zip(ders, issuers):
        check_signed("chain.signatures", by, der)
    vek = checked("chain.form", read_certificate, ders[2])
    chain = ark, issuer, vek
    check("chain.names", all(common_name(own.subject) == name for own, name in zip(chain, names)))
    check("chain.names", all(own.issuer == by.subject for own, by in zip(chain, issuers)))
    constraints = extension(vek, x509.BasicConstraints)
    check("chain.names", is_ca(ark) and is_ca(issuer) and not (constraints and constraints.ca))
    check("chain.names", organisation(vek.subject) == organisation(vek.issuer))
    dates = [(own.not_valid_before_utc.timestamp(), own.not_valid_after_utc.timestamp()) for own in chain]
    check("chain.dates", all(start <= now <= end for start, end in dates))
    s |= checked("vek.form", read_vek, vek, s["product"])
    check("vek.tcb", s["certified"] == tcb(s, "reported"))
    check("vek.hwid", (s["hwid"], s["csp"]) == (s["chip"], None) if by_vcek else s["hwid"] is None and s["csp"])
    check("report.signature_algorithm", s["algorithm"] == 1)
    try:
        signature = utils.encode_dss_signature(*(int.from_bytes(s[half], "little") for half in "rs"))
        vek.public_key().verify(signature, data[:0x2A0], ec.ECDSA(SHA384()))
    except InvalidSignature:
        raise Refused("report.signature") from None
    return s, chain


def product_of_issuer(given):
    name = common_name(checked("report.product", read_certificate, given["vek"]).issuer) or ""
    prefix = "SEV-" if given["vek_type"] == "vcek" else "SEV-VLEK-"
    return next((product for product in LEVELS if name == prefix + product.capitalize()), None)


def judge_list(rule, der, chain, now):
    check("crl", der is not None)
    ark = chain[0]
    check_signed("crl.signature", ark, der)
    crl, usage = checked("crl.form", read_list, der), extension(ark, x509.KeyUsage)
    check("crl.issuer", crl.issuer == ark.subject and usage and usage.crl_sign)
    check("crl.revoked", not {entry.serial_number for entry in crl} & {ca.serial_number for ca in chain[:2]})
    budget = 0 if rule == "require" else 86_400 * rule["stale_days"]
    check("crl.dates", crl.last_update_utc.timestamp() <= now <= crl.next_update_utc.timestamp() + budget)


def judge_instance(bundle, policy, own, s):
    manifest = checked("manifest.structure", read_manifest, bundle["key_manifest"])
    claims = checked("claims.structure", strict, bundle["runtime_claims"], CLAIMS, 8_192)
    debug = "enabled" if s["policy"] >> 19 & 1 else "disabled-permanently"
    stated = claims["bootseed"], claims["oemid"], claims["hwmodel"], claims["dbgstat"]
    check("claims.structure", stated == (manifest["boot_seed"], 3704, s["product"], debug))
    if own["type"] not in ("tls-exporter", "tls-spki"):
        return
    owner = f"spiffe://{manifest['trust_domain']}/cvm/{manifest['instance']}/svc/"
    keys = [(key["use"], key["owner"], key["sha256"], key["listener"]) for key in manifest["keys"]]
    check("manifest.tls_key", ("tls", owner + "gateway", own["leaf_spki_sha256"], own["listener"]) in keys)
    identity = rule_of(policy, "instance.identity")
    if identity == "require":
        chips = policy["product"][s["product"]]["allow"] == "chips"
        check("instance.identity", chips or not is_off(policy["host_data"]) or not is_off(policy["id_key"]))
    elif not is_off(identity):
        listed_cas = [digest.hex() for use, holder, digest, _ in keys if (use, holder) == ("ca", owner + "attestation")]
        check("instance.identity", set(listed_cas) & set(identity["ca_spki"]))
