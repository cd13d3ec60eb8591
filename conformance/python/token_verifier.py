"""Judges health tokens: the checks of docs/spec/health-token.md, in its order."""

import hashlib
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_der_public_key

from strict import TIME, U64, Refused, b64u, b64u_of, check, checked, strict, text

JWK = {"kty": text, "crv": text, "alg": text, "x": b64u(32), "y": b64u(32)}
TOKEN = {
    "iss": text, "sub": text, "iat": TIME, "nbf": TIME, "exp": TIME, "jti": b64u(16), "eat_profile": text,
    "cnf": {"jwk": JWK, "x5t#S256": b64u(32)}, "eat_nonce": b64u(32), "bootseed": b64u(32), "hep": U64,
    "att": {"report_sha256": b64u(32), "measurement": b64u(48), "policy_sha256": b64u(32),
            "key_manifest_sha384": b64u(48)}, "ear_status": text,
}


def jwk_of(spki, curve):
    """The members that RFC 7638 asks for, in its order."""
    point, size = load_der_public_key(spki).public_numbers(), int(curve[2:]) // 8
    x, y = (b64u_of(number.to_bytes(size, "big")) for number in (point.x, point.y))
    return {"crv": curve, "kty": "EC", "x": x, "y": y}


def thumbprint(spki):
    return b64u_of(hashlib.sha256(json.dumps(jwk_of(spki, "P-384"), separators=(",", ":")).encode()).digest())


def judge_token(token, known):
    """The checks of docs/spec/health-token.md, in its order."""
    read = b64u()
    check("token.size", len(token) <= 4096)
    check("token.form", token.count(".") == 2)
    header, payload, signature = (checked("token.encoding", read, part) for part in token.split("."))
    header = checked("token.header", strict, header, {"alg": text, "kid": text, "typ": text}, 4096)
    check("token.alg", header["alg"] == "ES384")
    check("token.typ", header["typ"] == "wit+jwt")
    kids = {thumbprint(spki): spki for spki in map(read, known["token_keys"])}
    check("token.kid", header["kid"] in kids)
    check("token.signature", len(signature) == 96)
    try:
        halves = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
        key = load_der_public_key(kids[header["kid"]])
        key.verify(utils.encode_dss_signature(*halves), token.rpartition(".")[0].encode(), ec.ECDSA(SHA384()))
    except InvalidSignature:
        raise Refused("token.signature") from None
    said = checked("token.claims", strict, payload, TOKEN, 4096)
    check("token.profile", said["eat_profile"] == "urn:uuid:5b6ec8ba-d955-45f4-97c8-764ae456a7d6")
    check("token.iss", said["iss"] == known["issuer"])
    check("token.iat", said["iat"] <= known["now"] + 2)
    check("token.nbf", said["nbf"] <= known["now"] + 2)
    check("token.span", 1 <= said["exp"] - said["iat"] <= 90)
    check("token.exp", known["now"] < said["exp"])
    check("token.bootseed", said["bootseed"] == read(known["boot_seed"]))
    check("token.epoch", said["hep"] >= known["min_epoch"])
    own = jwk_of(read(known["peer_spki"]), "P-256") | {"alg": "ES256"}
    check("token.cnf", said["cnf"]["jwk"] == own | {"x": read(own["x"]), "y": read(own["y"])})
    check("token.sub", said["sub"] == known["subject"])
    check("token.status", said["ear_status"] == "affirming")
    check("token.nonce", said["eat_nonce"] == read(known["nonce"]))
