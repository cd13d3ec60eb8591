//! Was the bundle made for this challenge and channel, and do its parts belong together?

use super::Subject;
use crate::{
    check::{Finding, Judged, Unjudged},
    claims::{DebugStatus, RuntimeClaims},
    encoding::hex,
    manifest::{KeyManifest, Owner},
    policy::{Allow, Bytes, Chips, Identity},
};

/// Parsed before the checks run; a bundle that does not parse never gets this far.
pub(super) fn structure(s: &Subject<'_>) -> Judged {
    s.bundle()?;
    Ok(Finding::of(true, "version 1", "a bundle of version 1"))
}

pub(super) fn purpose(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    let (observed, expected) = (part.bundle.purpose, part.challenge.purpose);
    Ok(Finding::of(observed == expected, format!("{observed:?}"), format!("{expected:?}")))
}

pub(super) fn nonce(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    let (observed, expected) = (part.bundle.challenge.nonce.0, part.challenge.nonce);
    Ok(Finding::of(observed == expected, hex(observed), hex(expected)))
}

/// The exporter is not sent; only `report_data` can tell whether it is ours.
pub(super) fn binding(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    let (found, own) = (&part.bundle.binding, &part.challenge.binder);
    let met = found.r#type == own.kind
        && found.role == own.role
        && found.listener == own.listener
        && found.leaf_spki_sha256.0 == own.leaf_spki_sha256;
    let show =
        |kind, role, listener: &str, leaf: &[u8]| format!("{kind:?} {role:?} {listener} {}", hex(leaf));
    let observed = show(found.r#type, found.role, &found.listener, &found.leaf_spki_sha256.0);
    Ok(Finding::of(met, observed, show(own.kind, own.role, &own.listener, &own.leaf_spki_sha256)))
}

pub(super) fn tree(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    let tree = &part.bundle.tree;
    let observed = format!("index {} of {}, path of {}", tree.index, tree.n, tree.path().len());
    Ok(Finding::of(part.root.is_some(), observed, "an index in the tree and its exact path"))
}

pub(super) fn manifest(s: &Subject<'_>) -> Judged {
    let expected = "a key manifest of version 1";
    Ok(match &s.bundle()?.manifest {
        Ok(manifest) => Finding::of(true, format!("{} keys", manifest.keys.len()), expected),
        Err(error) => Finding::of(false, error, expected),
    })
}

pub(super) fn claims(s: &Subject<'_>) -> Judged {
    let (part, debug, product) = (s.bundle()?, s.report()?.policy.debug(), s.product()?);
    let manifest = part.manifest()?;
    let expected =
        "claims of our profile, with the manifest's boot seed and the report's processor and debug status";
    Ok(match &part.claims {
        Ok(claims) => {
            let met = claims.bootseed == manifest.boot_seed
                && claims.oemid == AMD
                && claims.hwmodel == product.to_string()
                && (claims.dbgstat == DebugStatus::Enabled) == debug;
            let RuntimeClaims { bootseed, oemid, hwmodel, dbgstat, .. } = claims;
            let observed = format!("boot seed {bootseed:?}, maker {oemid}, {hwmodel:?}, debug {dbgstat:?}");
            Finding::of(met, observed, expected)
        }
        Err(error) => Finding::of(false, error, expected),
    })
}

/// IANA's number of AMD.
const AMD: u32 = 3704;

/// Not just any listed key: the gateway's own, for the listener we dialled.
pub(super) fn tls_key(s: &Subject<'_>) -> Judged {
    let (part, binder) = (s.bundle()?, &s.bundle()?.challenge.binder);
    if !binder.is_tls() {
        return Ok(Finding::not_required("no TLS binding", "only TLS keys are looked up"));
    }
    let manifest = part.manifest()?;
    let found = manifest.tls_key(&binder.leaf_spki_sha256, Owner::Gateway, &binder.listener).is_some();
    let key = hex(binder.leaf_spki_sha256);
    let expected = format!("key {key} of {} for {}", manifest.identity(Owner::Gateway), binder.listener);
    Ok(Finding::of(found, if found { "listed" } else { "not listed" }, expected))
}

/// A genuine twin on somebody else's machine passes every other check.
pub(super) fn identity(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    if !part.challenge.binder.is_tls() {
        return Ok(Finding::not_required("no TLS binding", "judged where a server is dialled"));
    }
    let manifest = part.manifest()?;
    let pins = pins(s)?;
    let observed = format!("{}; policy pins: {pins}", manifest.identity(Owner::Gateway));
    s.policy.instance_identity.judge(observed, |wanted| match wanted {
        Identity::Pinned => !pins.is_empty(),
        Identity::CaSpki(allowed) => has_ca(manifest, allowed),
    })
}

fn pins(s: &Subject<'_>) -> Result<String, Unjudged> {
    let chips = matches!(s.policy.chips(s.product()?), Some(Chips::Listed(_)));
    let pins = [
        ("chips", chips),
        ("host_data", s.policy.host_data.demand().is_some()),
        ("id_key", s.policy.id_key.demand().is_some()),
    ];
    let named: Vec<_> = pins.into_iter().filter_map(|(name, pinned)| pinned.then_some(name)).collect();
    Ok(named.join(", "))
}

fn has_ca(manifest: &KeyManifest, allowed: &Allow<Bytes<32>>) -> bool {
    manifest.ca_keys().any(|key| allowed.has(&Bytes(key.sha256.0)))
}
