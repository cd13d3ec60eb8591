//! From TOML values to demands. Each function takes one shape and says what it would have taken.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{
    Version,
    read::Parsed,
    rule::{
        Allow, Bits, Bytes, Chips, Covers, Fixed, Identity, Masks, Measurements, MigrationAgent, Minimum,
        PerProduct, StaleBudget,
    },
};
use crate::{product::Product, report::HOST_REQUESTED, tcb::Tcb};

/// A bare word, so that `debug = "forbid"` cannot be misread.
pub(super) fn fixed(word: &'static str) -> impl FnOnce(Value) -> Parsed<Fixed> {
    move |value| match value.as_str() {
        Some(found) if found == word => Ok(Fixed(word)),
        _ => Err(format!("need \"{word}\" or {{ off = \"why\" }}")),
    }
}

/// `{ allow = [item, …] }`
pub(super) fn allow<T>(item: fn(&Value) -> Parsed<T>) -> impl FnOnce(Value) -> Parsed<Allow<T>> {
    move |value| {
        let [list] = members(value, ["allow"])?;
        items(&list, item)
    }
}

/// `{ minimum = item }`
pub(super) fn minimum<T>(item: fn(&Value) -> Parsed<T>) -> impl FnOnce(Value) -> Parsed<Minimum<T>> {
    move |value| {
        let [least] = members(value, ["minimum"])?;
        item(&least).map(Minimum)
    }
}

/// `{ set = ["name", …], clear = ["name", …] }`
pub(super) fn bits(names: &'static [(&'static str, u32)]) -> impl Fn(Value) -> Parsed<Bits> {
    move |value| {
        let [set, clear] = members(value, ["set", "clear"])?;
        let mask = |list: &Value| -> Parsed<u64> {
            items(list, text)?.0.iter().try_fold(0, |mask, name| Ok(mask | bit(names, name)?))
        };
        let bits = Bits { set: mask(&set)?, clear: mask(&clear)?, names };
        if bits.set & bits.clear == 0 {
            Ok(bits)
        } else {
            Err("a bit is both in set and in clear".to_owned())
        }
    }
}

fn bit(names: &[(&str, u32)], name: &str) -> Parsed<u64> {
    let known = names.iter().find(|(known, _)| *known == name);
    known.map(|(_, bit)| 1 << bit).ok_or_else(|| {
        let all: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("unknown bit {name:?}, need one of {}", all.join(", "))
    })
}

/// One demand for every product, or `{ genoa = …, turin = … }`: one for each product that is named.
pub(super) fn by_product<T: Clone>(
    read: impl Fn(Value) -> Parsed<T>,
) -> impl FnOnce(Value) -> Parsed<PerProduct<T>> {
    move |value| {
        let names_product = |table: &Table| table.keys().any(|name| name.parse::<Product>().is_ok());
        if value.as_table().is_some_and(names_product) {
            return per_product(value, |_, value| read(value));
        }
        let demand = read(value).map_err(|problem| format!("{problem}, for all or by product"))?;
        Ok(PerProduct(Product::ALL.map(|product| (product, demand.clone())).into()))
    }
}

/// `{ minimum = { genoa = …, turin = … } }`
pub(super) fn floors<T>(
    read: impl Fn(Product, Value) -> Parsed<T>,
) -> impl FnOnce(Value) -> Parsed<PerProduct<Minimum<T>>> {
    move |value| {
        let [table] = members(value, ["minimum"])?;
        per_product(table, |product, value| read(product, value).map(Minimum))
    }
}

/// `{ minimum = "1.55.40" }`, or `{ minimum = { milan = "1.55.22", genoa = "1.55.38" } }`
pub(super) fn versions<const N: usize>(value: Value) -> Parsed<PerProduct<Minimum<Version<N>>>> {
    let [least] = members(value, ["minimum"])?;
    by_product(|value| version(&value).map(Minimum))(least)
}

fn per_product<T>(value: Value, read: impl Fn(Product, Value) -> Parsed<T>) -> Parsed<PerProduct<T>> {
    let mut products = BTreeMap::new();
    for (name, value) in table(value)? {
        let product = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
        products.insert(product, read(product, value)?);
    }
    Ok(PerProduct(products))
}

/// `{ bootloader = …, tee = …, snp = …, microcode = … }`; Turin has `fmc` too.
pub(super) fn tcb(product: Product, value: Value) -> Parsed<Tcb> {
    let (fmc, [bootloader, tee, snp, microcode]) = match product {
        Product::Milan | Product::Genoa => (None, members(value, ["bootloader", "tee", "snp", "microcode"])?),
        Product::Turin => {
            let [fmc, rest @ ..] = members(value, ["fmc", "bootloader", "tee", "snp", "microcode"])?;
            (Some(integer(&fmc)?), rest)
        }
    };
    let (bootloader, tee) = (integer(&bootloader)?, integer(&tee)?);
    Ok(Tcb { fmc, bootloader, tee, snp: integer(&snp)?, microcode: integer(&microcode)? })
}

/// `{ launch = "0x…", current = "0x…" }`; what a bit means is each product's own affair.
pub(super) fn masks(_: Product, value: Value) -> Parsed<Masks> {
    let [launch, current] = members(value, ["launch", "current"])?;
    Ok(Masks { launch: mask(&launch)?, current: mask(&current)? })
}

/// `"require"` or `{ stale_days = 3 }`
pub(super) fn crl(value: Value) -> Parsed<StaleBudget> {
    if value.as_str() == Some("require") {
        return Ok(StaleBudget { days: 0 });
    }
    let [days] = members(value, ["stale_days"])
        .map_err(|_| "need \"require\", { stale_days = … } or { off = \"why\" }".to_owned())?;
    match integer(&days)? {
        days @ 1..=MAX_STALE_DAYS => Ok(StaleBudget { days }),
        days => Err(format!("{days} days, need 1 to {MAX_STALE_DAYS}")),
    }
}

/// A list older than this says too little: AMD's live about six weeks.
const MAX_STALE_DAYS: u8 = 7;

/// `"forbid"` or `{ allow = ["<report id>", …] }`
pub(super) fn migration_agent(value: Value) -> Parsed<MigrationAgent> {
    if value.as_str() == Some("forbid") {
        return Ok(MigrationAgent::Forbidden);
    }
    let [ids] = members(value, ["allow"])
        .map_err(|_| "need \"forbid\", { allow = […] } or { off = \"why\" }".to_owned())?;
    items(&ids, hex_bytes).map(MigrationAgent::Allowed)
}

/// `{ allow = […], covers = "userspace" }` or `{ allow = […], covers = "kernel-only", reason = "why" }`
pub(super) fn measurements(value: Value) -> Parsed<Measurements> {
    let mut table = table(value)?;
    let reason = table.remove("reason").map(|reason| text(&reason)).transpose()?;
    let [allow, covers] = members(Value::Table(table), ["allow", "covers"])?;
    let covers = match (covers.as_str(), reason) {
        (Some("userspace"), None) => Covers::Userspace,
        (Some("kernel-only"), Some(reason)) => Covers::KernelOnly(reason),
        _ => return Err("covers is \"userspace\", or \"kernel-only\" with a reason".to_owned()),
    };
    Ok(Measurements { allow: items(&allow, hex_bytes)?, covers })
}

/// `"require"` or `{ ca_spki = ["<SHA-256>", …] }`
pub(super) fn identity(value: Value) -> Parsed<Identity> {
    if value.as_str() == Some("require") {
        return Ok(Identity::Pinned);
    }
    let [keys] = members(value, ["ca_spki"])
        .map_err(|_| "need \"require\", { ca_spki = […] } or { off = \"why\" }".to_owned())?;
    items(&keys, hex_bytes).map(Identity::CaSpki)
}

/// `{ allow = "any", reason = "why" }` or `{ allow = "chips", chips = ["<chip id>", …] }`
pub(super) fn chips(value: Value, product: Product) -> Parsed<Chips> {
    match value.get("allow").and_then(Value::as_str) {
        Some("any") => {
            let [_, reason] = members(value, ["allow", "reason"])?;
            text(&reason).map(Chips::Any)
        }
        Some("chips") => {
            let [_, chips] = members(value, ["allow", "chips"])?;
            let read = match product {
                Product::Milan | Product::Genoa => {
                    |chip: &Value| hex_bytes::<64>(chip).map(|id| id.0.to_vec())
                }
                Product::Turin => |chip: &Value| hex_bytes::<8>(chip).map(|id| id.0.to_vec()),
            };
            items(&chips, read).map(|list| Chips::Listed(list.0))
        }
        _ => Err("allow is \"any\" with a reason, or \"chips\" with a list".to_owned()),
    }
}

/// An unsigned number that fits.
pub(super) fn integer<T: TryFrom<i64>>(value: &Value) -> Parsed<T> {
    let number = value.as_integer().ok_or("need a whole number")?;
    T::try_from(number).map_err(|_| format!("{number} is out of range"))
}

/// A version that reports have.
pub(super) fn report_version(value: &Value) -> Parsed<u32> {
    match integer(value)? {
        version @ 2..=5 => Ok(version),
        version => Err(format!("{version} is no report version, need 2 to 5")),
    }
}

/// A privilege level, or what stands in its place when the host asked.
pub(super) fn vmpl(value: &Value) -> Parsed<u32> {
    match integer(value)? {
        vmpl @ (0..=3 | HOST_REQUESTED) => Ok(vmpl),
        vmpl => Err(format!("{vmpl} is no VMPL, need 0 to 3, or {HOST_REQUESTED} for the host")),
    }
}

/// `"1.55.40"`, as many parts as the version has.
pub(super) fn version<const N: usize>(value: &Value) -> Parsed<Version<N>> {
    let text = value.as_str().filter(|text| text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()));
    let parts = text.map(|text| text.split('.').map(str::parse).collect::<Result<Vec<u8>, _>>());
    let exact = parts.and_then(Result::ok).and_then(|parts| parts.try_into().ok());
    exact.map(Version).ok_or_else(|| format!("need a version of {N} numbers such as \"1.55\""))
}

/// Exactly `N` bytes in hex.
pub(super) fn hex_bytes<const N: usize>(value: &Value) -> Parsed<Bytes<N>> {
    let mut bytes = [0; N];
    let decoded = value.as_str().map(|text| hex::decode_to_slice(text, &mut bytes));
    if decoded == Some(Ok(())) {
        Ok(Bytes(bytes))
    } else {
        Err(format!("need {N} bytes as {} hex digits", 2 * N))
    }
}

/// SHA-384 of a key; zero means that a report has none, which is not a key.
pub(super) fn digest(value: &Value) -> Parsed<Bytes<48>> {
    let digest = hex_bytes(value)?;
    if digest.0 == [0; 48] {
        return Err("zero is no key's digest: a guest without ID block has it".to_owned());
    }
    Ok(digest)
}

/// Words; never empty.
pub(super) fn text(value: &Value) -> Parsed<String> {
    let text = value.as_str().filter(|text| !text.trim().is_empty());
    text.map(str::to_owned).ok_or_else(|| "need words in quotes".to_owned())
}

/// 64 bits in hex, in quotes because TOML integers are signed.
fn mask(value: &Value) -> Parsed<u64> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| "need a mask such as \"0x3f\"".to_owned())
}

fn items<T>(value: &Value, item: impl Fn(&Value) -> Parsed<T>) -> Parsed<Allow<T>> {
    let list = value.as_array().ok_or("need a list")?;
    list.iter().map(item).collect::<Parsed<_>>().map(Allow)
}

fn table(value: Value) -> Parsed<Table> {
    let Value::Table(table) = value else { return Err("need a table".to_owned()) };
    Ok(table)
}

/// Exactly these members of a table, in this order.
fn members<const N: usize>(value: Value, names: [&str; N]) -> Parsed<[Value; N]> {
    let need = || format!("need exactly {{ {} }}", names.map(|name| format!("{name} = …")).join(", "));
    let mut table = table(value).map_err(|_| need())?;
    let found = names.map(|name| table.remove(name));
    let all: Vec<Value> = found.into_iter().flatten().collect();
    if table.is_empty() { all.try_into().map_err(|_| need()) } else { Err(need()) }
}
