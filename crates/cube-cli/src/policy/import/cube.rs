//! Cube AI's `attestation_policy.json`: the `check.Policy` of go-sev-guest and PCR values, in Protocol Buffers' JSON form.
//! There an absent or empty key means that nothing is compared.

use snp_evidence::Product;

use super::{
    Import,
    fields::{self, Fields},
    guest,
};
use crate::policy::new::id_of;

const NOTHING: &str = "{ allow = [] }";
/// A floor by product that names none.
const NO_PRODUCT: &str = "{ minimum = {} }";

pub(super) fn read(json: &[u8], to: &mut Import) {
    let mut file = match fields::read(json) {
        Ok(file) => file,
        Err(problem) => {
            let newer = "cocos from 0.9 on writes CoRIM, which this program does not read";
            return to.problems.push(format!("{problem} ({newer})"));
        }
    };
    if let Some(key) = tdx(json) {
        let problem = format!("{key} is for Intel TDX, and Cube judges AMD SEV-SNP");
        return to.problems.push(problem);
    }
    let mut rules = file.message("policy", "policy.");
    let mut root = file.message("root_of_trust", "root_of_trust.");
    pcrs(&mut file, to);
    let product = product(&mut rules, &mut root, to);
    chips(&mut rules, product, to);
    software(&mut rules, to);
    guest::policy(&mut rules, to);
    guest::platform(&mut rules, to);
    firmware(&mut rules, product, to);
    keys(&mut rules, to);
    roots(&mut root, to);
    for fields in [file, rules, root] {
        let (problems, unknown) = fields.finish();
        to.problems.extend(problems);
        to.drop_keys(&unknown, "unknown here, and unread there as well if misspelt");
    }
}

/// The key by which a policy for the other maker's processors is known.
fn tdx(json: &[u8]) -> Option<&'static str> {
    let file: serde_json::Value = serde_json::from_slice(json).ok()?;
    [
        ["policy", "header_policy"],
        ["policy", "headerPolicy"],
        ["policy", "td_quote_body_policy"],
        ["policy", "tdQuoteBodyPolicy"],
        ["root_of_trust", "get_collateral"],
        ["rootOfTrust", "getCollateral"],
    ]
    .into_iter()
    .find(|[message, key]| file.get(message).is_some_and(|message| message.get(key).is_some()))
    .map(|[_, key]| key)
}

fn pcrs(file: &mut Fields, to: &mut Import) {
    let mut banks = file.message("pcr_values", "pcr_values.");
    for bank in ["sha1", "sha256", "sha384"] {
        if let Some(values) = banks.take(bank) {
            let indices: Vec<_> =
                values.as_object().into_iter().flat_map(|bank| bank.keys().cloned()).collect();
            let key = format!("pcr_values.{bank} ({})", indices.join(", "));
            to.drop_key(key, "no rule of ours compares PCRs, so what they measured is not judged");
        }
    }
    let (problems, unknown) = banks.finish();
    to.problems.extend(problems);
    to.drop_keys(&unknown, "no bank that is known here");
}

/// Stated in up to three places, which have to agree.
fn product(rules: &mut Fields, root: &mut Fields, to: &mut Import) -> Option<Product> {
    let mut product = rules.message("product", "policy.product.");
    let name = product.take("name").and_then(|name| match name.as_str() {
        Some(name) => Some(name.trim_start_matches("SEV_PRODUCT_").to_owned()),
        None => name.as_u64().map(|number| match number {
            1 => "milan".to_owned(),
            2 => "genoa".to_owned(),
            3 => "turin".to_owned(),
            other => other.to_string(),
        }),
    });
    let (problems, unknown) = product.finish();
    to.problems.extend(problems);
    to.drop_keys(&unknown, "steppings are not judged");
    let stated = [name, root.text("product_line"), root.text("product")];
    let mut found = None;
    for name in stated.into_iter().flatten().map(|name| name.to_lowercase()) {
        match name.parse::<Product>() {
            Ok(product) if found.is_none_or(|found| found == product) => found = Some(product),
            Ok(_) => to.problems.push(format!("product: {name} in one place, another in the other")),
            Err(error) => to.problems.push(format!("product {name:?}: {error}")),
        }
    }
    found
}

fn chips(rules: &mut Fields, product: Option<Product>, to: &mut Import) {
    let chip = rules.some_bytes("chip_id");
    let Some(product) = product else {
        if chip.is_some() {
            to.drop_key("policy.chip_id", "without a product it names no chip");
        }
        let because = "no product is named; there Milan stands for it";
        to.decide.push(
            "no product is named, so that any Milan was accepted: its keys can be extracted by software",
        );
        return to.leave_open("product.milan", because, r#"{ allow = "chips", chips = [] }"#);
    };
    let length = if product == Product::Turin { 8 } else { 64 };
    match chip {
        Some(chip) if chip.len() == length => {
            let list = format!("{{ allow = \"chips\", chips = [\"{}\"] }}", hex::encode(chip));
            to.carry(id_of(product), list);
        }
        Some(chip) => rules.object("chip_id", &format!("{} bytes, {product} has {length}", chip.len())),
        None => {
            if product == Product::Milan {
                to.decide
                    .push("any Milan was accepted: the keys of these chips can be extracted by software");
            }
            to.leave_open(id_of(product), "no chip_id", r#"{ allow = "chips", chips = [] }"#);
        }
    }
}

fn software(rules: &mut Fields, to: &mut Import) {
    if let Some(measurement) = rules.bytes::<48>("measurement") {
        let measurement = hex::encode(measurement);
        let covers = r#"covers = "kernel-only", reason = "imported; that form does not say what is covered""#;
        to.carry("measurement", format!("{{ allow = [\"{measurement}\"], {covers} }}"));
    } else {
        to.decide.push("no measurement, so that any software was accepted");
        to.leave_open("measurement", "no measurement", r#"{ allow = [], covers = "userspace" }"#);
    }
    let host_data = rules.bytes::<32>("host_data");
    to.carry_or_leave_open("host_data", host_data.map(allow), "no host_data", NOTHING);
    let report_id = rules.bytes::<32>("report_id");
    to.carry_or_leave_open(
        "report_id",
        report_id.map(allow),
        "no report_id; every launch has another",
        NOTHING,
    );
    let family_id = rules.bytes::<16>("family_id");
    to.carry_or_leave_open("family_id", family_id.map(allow), "no family_id", NOTHING);
    let image_id = rules.bytes::<16>("image_id");
    to.carry_or_leave_open("image_id", image_id.map(allow), "no image_id", NOTHING);
    let svn = rules.number("minimum_guest_svn").filter(|svn| *svn != 0);
    if svn.is_some_and(|svn| svn > u32::MAX.into()) {
        rules.object("minimum_guest_svn", "need 32 bits");
    }
    let svn = svn.map(|svn| format!("{{ minimum = {svn} }}"));
    to.carry_or_leave_open("guest_svn", svn, "no minimum_guest_svn", "{ minimum = 4294967295 }");
    let agent = rules.bytes::<32>("report_id_ma");
    let agent = agent.map(|id| if id == [0xFF; 32] { "\"forbid\"".to_owned() } else { allow(id) });
    to.carry_or_leave_open("report_id_ma", agent, "no report_id_ma", "\"forbid\"");
    if rules.take("report_data").is_some() {
        to.drop_key("policy.report_data", "bound to each connection by the client itself");
    }
}

fn firmware(rules: &mut Fields, product: Option<Product>, to: &mut Import) {
    let some = version(rules).map(|version| format!("{{ minimum = \"{version}\" }}"));
    let because = "neither minimum_version nor minimum_build";
    to.carry_or_leave_open("firmware_version", some, because, "{ minimum = \"255.255.255\" }");
    let floor = floor(rules, "minimum_tcb", product, to);
    for rule in ["tcb.reported", "tcb.committed", "tcb.current"] {
        to.carry_or_leave_open(rule, floor.clone(), "no minimum_tcb", NO_PRODUCT);
    }
    let launch = self::floor(rules, "minimum_launch_tcb", product, to);
    to.carry_or_leave_open("tcb.launch", launch, "no minimum_launch_tcb", NO_PRODUCT);
    if rules.flag("permit_provisional_firmware") {
        to.decide
            .push("provisional firmware was permitted, which the host can take back under a running guest");
        to.leave_open("tcb.committed_is_current", "permit_provisional_firmware is true", "\"require\"");
    } else {
        to.carry("tcb.committed_is_current", "\"require\"");
    }
}

/// Version and build stand apart there; the lowest of both asks for nothing.
fn version(rules: &mut Fields) -> Option<String> {
    let text = rules.text("minimum_version").unwrap_or_else(|| "0.0".to_owned());
    let build = rules.number("minimum_build").unwrap_or_default();
    let parts: Vec<u8> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    let (Ok([major, minor]), Ok(build)) = (<[u8; 2]>::try_from(parts), u8::try_from(build)) else {
        rules.object("minimum_version", "need a version such as \"1.55\", and a minimum_build up to 255");
        return None;
    };
    ([major, minor, build] != [0; 3]).then(|| format!("{major}.{minor}.{build}"))
}

/// One number of eight levels, of which Milan and Genoa use the first two and the last two.
fn floor(rules: &mut Fields, key: &str, product: Option<Product>, to: &mut Import) -> Option<String> {
    if rules.number(&format!("{key}_turin")).is_some() {
        to.drop_key(rules.name(&format!("{key}_turin")), "state Turin's levels yourself");
    }
    let packed = rules.number(key).filter(|packed| *packed != 0)?;
    let [bootloader, tee, reserved @ .., snp, microcode] = packed.to_le_bytes();
    match product {
        Some(product @ (Product::Milan | Product::Genoa)) if reserved == [0; 4] => Some(format!(
            "{{ minimum = {{ {product} = {{ bootloader = {bootloader}, tee = {tee}, snp = {snp}, \
             microcode = {microcode} }} }} }}"
        )),
        Some(Product::Milan | Product::Genoa) => {
            rules.object(key, "levels that this product does not have are not zero");
            None
        }
        Some(Product::Turin) | None => {
            to.drop_key(rules.name(key), "levels mean nothing without a product that packs them so");
            None
        }
    }
}

fn keys(rules: &mut Fields, to: &mut Import) {
    let (author, block) = (rules.flag("require_author_key"), rules.flag("require_id_block"));
    for (rule, hashes, certificates, required, because) in [
        (
            "id_key",
            "trusted_id_key_hashes",
            "trusted_id_keys",
            block || author,
            "require_id_block is not set, so that no ID key is compared",
        ),
        (
            "author_key",
            "trusted_author_key_hashes",
            "trusted_author_keys",
            author,
            "require_author_key is not set, so that no author key is compared",
        ),
    ] {
        let digests = digests(rules, hashes);
        if !rules.list(certificates).is_empty() {
            to.drop_key(rules.name(certificates), "list the keys' SHA-384 digests in their place");
        }
        let list = format!("{{ allow = [{digests}] }}");
        if required { to.carry(rule, list) } else { to.leave_open(rule, because, list) }
    }
}

fn digests(rules: &mut Fields, key: &str) -> String {
    let digests = rules.list(key);
    if digests.iter().any(|digest| digest.len() != 48 || digest.iter().all(|byte| *byte == 0)) {
        rules.object(key, "need digests of 48 bytes each; zero is no key's");
    }
    digests.iter().map(|digest| format!("\"{}\"", hex::encode(digest))).collect::<Vec<_>>().join(", ")
}

fn roots(root: &mut Fields, to: &mut Import) {
    let crl = root.flag("check_crl").then(|| "\"require\"".to_owned());
    to.carry_or_leave_open("crl", crl, "check_crl is not set", "\"require\"");
    for key in ["cabundle_paths", "cabundles"] {
        if root.take(key).is_some_and(|value| value.as_array().is_none_or(|list| !list.is_empty())) {
            to.drop_key(root.name(key), "AMD's certificates are pinned here");
        }
    }
    if root.flag("disallow_network") {
        to.drop_key("root_of_trust.disallow_network", "judging never uses the network here");
    }
}

fn allow<const N: usize>(bytes: [u8; N]) -> String {
    format!("{{ allow = [\"{}\"] }}", hex::encode(bytes))
}
