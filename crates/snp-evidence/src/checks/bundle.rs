//! Was the bundle made for this challenge and channel, and do its parts belong together?

use super::Subject;
use crate::{
    check::{Finding, Judged, Unjudged},
    claims::DebugStatus,
    encoding::hex,
    manifest::{KeyManifest, Owner},
    nonce_tree::{Root, leaf},
    policy::{Allow, Bytes, Chips, Identity},
};

/// Parsed before the checks run; a bundle that does not parse never gets this far.
pub(super) fn structure(s: &Subject<'_>) -> Judged {
    s.bundle()?;
    Ok(Finding::of(true, "version 1", "a bundle of version 1"))
}

pub(super) fn purpose(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    let (observed, expected) = (part.bundle.purpose, part.expectation.purpose);
    Ok(Finding::of(observed == expected, format!("{observed:?}"), format!("{expected:?}")))
}

pub(super) fn nonce(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    let (observed, expected) = (part.bundle.challenge.nonce.0, part.expectation.nonce);
    Ok(Finding::of(observed == expected, hex(observed), hex(expected)))
}

/// The exporter is not sent; only `report_data` can tell whether it is ours.
pub(super) fn binding(s: &Subject<'_>) -> Judged {
    let part = s.bundle()?;
    let (found, own) = (&part.bundle.binding, &part.expectation.binder);
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
    let (tree, path) = (&part.bundle.tree, part.bundle.tree.path());
    let own = leaf(&part.expectation.nonce, &part.expectation.binder);
    let met = Root::from_path(&own, tree.n, tree.index, &path).is_some();
    let observed = format!("index {} of {}, path of {}", tree.index, tree.n, path.len());
    Ok(Finding::of(met, observed, "an index in the tree and its exact path"))
}

pub(super) fn manifest(s: &Subject<'_>) -> Judged {
    let expected = "a key manifest of version 1";
    Ok(match &s.bundle()?.manifest {
        Ok(manifest) => Finding::of(true, format!("{} keys", manifest.keys.len()), expected),
        Err(error) => Finding::of(false, error, expected),
    })
}

pub(super) fn claims(s: &Subject<'_>) -> Judged {
    let (part, debug) = (s.bundle()?, s.report()?.policy.debug());
    let manifest = part.manifest()?;
    let expected = "claims of our profile, with the manifest's boot seed and the report's debug status";
    Ok(match &part.claims {
        Ok(claims) => {
            let met =
                claims.bootseed == manifest.boot_seed && (claims.dbgstat == DebugStatus::Enabled) == debug;
            Finding::of(met, format!("boot seed {:?}, debug {:?}", claims.bootseed, claims.dbgstat), expected)
        }
        Err(error) => Finding::of(false, error, expected),
    })
}

/// Not just any listed key: the gateway's own, for the listener we dialled.
pub(super) fn tls_key(s: &Subject<'_>) -> Judged {
    let (part, binder) = (s.bundle()?, &s.bundle()?.expectation.binder);
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
    if !part.expectation.binder.is_tls() {
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
