//! Every check, in the order in which a verdict lists them. The first that fails is the reason.
//!
//! A row says: whose fault a failure is, the stable id, who vouches for what is observed, the function that looks, and
//! what to do. Policy checks are set by the rule of the same name in the policy file, the `crl` checks by its rule
//! `crl`; all others have no off switch. docs/spec/verdict.md explains each.

mod bundle;
mod genuine;
mod policy;
mod revocation;
mod subject;

use crate::check::{
    Check, Judged,
    RefusalClass::{self, Channel, Malformed, OutOfPolicy, Stale, Unavailable, Untrusted},
};

pub(crate) use subject::{BundlePart, Expected, Subject};

/// Before the report of a bundle is looked at: was it made for this challenge?
#[rustfmt::skip]
const CHALLENGE: &[Check] = &[
    check(Malformed, "bundle.structure", NOBODY, bundle::structure, "the peer speaks another version of Cube's bundle"),
    check(Channel, "bundle.purpose", NOBODY, bundle::purpose, "ask the endpoint meant for this purpose"),
    check(Channel, "bundle.nonce", NOBODY, bundle::nonce, "the answer is replayed; ask again with a fresh nonce"),
    check(Channel, "bundle.binding", NOBODY, bundle::binding, "the evidence is for another connection or listener"),
    check(Channel, "bundle.tree", NOBODY, bundle::tree, "the nonce's place in the report is wrong; ask again"),
];

/// Is the report genuine, and made for us?
#[rustfmt::skip]
const GENUINE: &[Check] = &[
    check(Untrusted, "evidence.format", VERIFIER, genuine::format, "simulated evidence needs the simulator's root, and only that"),
    check(Malformed, "report.structure", AMD, genuine::structure, "send the report unchanged as the processor made it"),
    check(Untrusted, "report.signing_key", AMD, genuine::signing_key, "ask the host for reports signed by an unmasked VCEK or VLEK"),
    check(Unavailable, "collateral.vek", NOBODY, genuine::vek_present, "add the chip's VCEK, or the VLEK, for the reported TCB"),
    check(Untrusted, "report.product", AMD, genuine::product, "this processor is not supported"),
    check(Malformed, "report.product_reserved", AMD, genuine::product_reserved, "send the report unchanged as the processor made it"),
    check(Untrusted, "chain.pinned_root", VERIFIER, genuine::pinned_root, "use roots that cover this product"),
    check(Untrusted, "chain.offered_ca", NOBODY, genuine::offered_ca, "a CA certificate is not AMD's for this key; suspect the host"),
    check(Unavailable, "collateral.asvk", NOBODY, genuine::asvk_present, "add the product's ASVK certificate from AMD's key server"),
    check(Untrusted, "chain.signatures", AMD, genuine::chain_signatures, "a certificate is forged, damaged, or another product's"),
    check(Malformed, "chain.form", AMD, genuine::chain_form, "use the certificates exactly as AMD's key server sends them"),
    check(Untrusted, "chain.names", AMD, genuine::chain_names, "use the certificates of this product and key type"),
    check(Untrusted, "chain.dates", AMD, genuine::chain_dates, "get a certificate that is valid now, and check the clock"),
    check(Malformed, "vek.form", AMD, genuine::vek_form, "use the certificates exactly as AMD's key server sends them"),
    check(Untrusted, "vek.tcb", AMD, genuine::vek_tcb, "get the VEK for the reported TCB"),
    check(Untrusted, "vek.hwid", AMD, genuine::vek_hwid, "get the VCEK of this chip; the host must not mask the chip id"),
    check(Untrusted, "report.signature_algorithm", AMD, genuine::signature_algorithm, "this signature algorithm is not supported"),
    check(Untrusted, "report.signature", AMD, genuine::signature, "the report is forged or damaged, or the VEK is another chip's"),
    check(Unavailable, "crl", NOBODY, revocation::present, "add the list that the ASK's or ASVK's certificate points to"),
    check(Untrusted, "crl.signature", AMD, revocation::signature, "the list is forged, damaged, or another product's; fetch it again"),
    check(Malformed, "crl.form", AMD, revocation::form, "use the list exactly as AMD's key server sends it"),
    check(Untrusted, "crl.issuer", AMD, revocation::issuer, "use the list of this product"),
    check(Untrusted, "crl.revoked", AMD, revocation::revoked, "AMD withdrew this authority: get certificates under its successor"),
    check(Stale, "crl.dates", AMD, revocation::dates, "fetch a newer list, and check the clock"),
    check(Channel, "report_data", AMD, genuine::report_data, "the report was made for another challenge, key or channel"),
];

/// Does it say what the policy wants?
#[rustfmt::skip]
const POLICY: &[Check] = &[
    check(OutOfPolicy, "report_version", AMD, policy::report_version, "name the version in the policy if you accept it"),
    check(OutOfPolicy, "product", AMD, policy::product, "list the chip, or accept the product, in the policy"),
    check(OutOfPolicy, "guest_policy.debug", AMD, policy::debug, "launch the guest with debugging off"),
    check(OutOfPolicy, "guest_policy.migration_agent", AMD, policy::migration_agent, "launch the guest without migration agent"),
    check(OutOfPolicy, "guest_policy.smt", AMD, policy::smt, "launch the guest with SMT forbidden"),
    check(OutOfPolicy, "guest_policy.single_socket", AMD, policy::single_socket, "launch the guest bound to one socket"),
    check(OutOfPolicy, "guest_policy.abi", AMD, policy::abi, "launch the guest with a higher minimum ABI"),
    check(OutOfPolicy, "guest_policy.features", AMD, policy::features, "launch the guest with the demanded policy bits"),
    check(OutOfPolicy, "vmpl", AMD, policy::vmpl, "ask for the report at the VMPL that the policy names"),
    check(OutOfPolicy, "tcb.reported", AMD, policy::tcb_reported, "the host has to update its firmware"),
    check(OutOfPolicy, "tcb.committed", AMD, policy::tcb_committed, "the host has to commit newer firmware"),
    check(OutOfPolicy, "tcb.launch", AMD, policy::tcb_launch, "relaunch the guest on updated firmware"),
    check(OutOfPolicy, "tcb.current", AMD, policy::tcb_current, "the host has to update its firmware"),
    check(OutOfPolicy, "tcb.committed_is_current", AMD, policy::committed_is_current, "the host has to commit its firmware"),
    check(OutOfPolicy, "tcb.ordered", AMD, policy::tcb_ordered, "the host runs firmware older than it reports"),
    check(OutOfPolicy, "firmware_version", AMD, policy::firmware_version, "the host has to update its firmware"),
    check(OutOfPolicy, "platform_info", AMD, policy::platform_info, "the host has to change its platform settings"),
    check(OutOfPolicy, "mitigations", AMD, policy::mitigations, "the host has to apply the mitigations and relaunch"),
    check(OutOfPolicy, "id_key", AMD, policy::id_key, "launch the guest with an ID block by a listed key"),
    check(OutOfPolicy, "author_key", AMD, policy::author_key, "launch the guest with an ID block by a listed author"),
    check(OutOfPolicy, "family_id", AMD, policy::family_id, "launch a guest of a listed family"),
    check(OutOfPolicy, "image_id", AMD, policy::image_id, "launch a listed image"),
    check(OutOfPolicy, "guest_svn", AMD, policy::guest_svn, "launch a newer image"),
    check(OutOfPolicy, "report_id", AMD, policy::report_id, "this is another guest; list its report id if it is yours"),
    check(OutOfPolicy, "report_id_ma", AMD, policy::report_id_ma, "launch the guest without migration agent"),
    check(OutOfPolicy, "measurement", AMD, policy::measurement, "other software runs there; list its measurement if it is yours"),
    check(OutOfPolicy, "host_data", AMD, policy::host_data, "another configuration runs there; list its digest if it is yours"),
    check(OutOfPolicy, "vlek.csp", AMD, policy::vlek_csp, "list the provider in the policy"),
    check(OutOfPolicy, "gpu_evidence", VERIFIER, policy::gpu_evidence, "this version judges no GPU evidence: { off = \"why\" }"),
];

/// Do the bundle's other parts belong to it, and is this the instance we mean?
#[rustfmt::skip]
const INSTANCE: &[Check] = &[
    check(Malformed, "manifest.structure", CVM, bundle::manifest, "the peer speaks another version of Cube's key manifest"),
    check(Malformed, "claims.structure", CVM, bundle::claims, "the peer's runtime claims contradict its manifest or report"),
    check(Channel, "manifest.tls_key", CVM, bundle::tls_key, "the TLS key is not this CVM's own for this listener: a proxy?"),
    check(OutOfPolicy, "instance.identity", POLICY_FILE, bundle::identity, "pin host_data, chips, id_key or ca_spki in the policy"),
];

const AMD: &str = "AMD";
const CVM: &str = "the measured CVM";
const NOBODY: &str = "nobody";
const POLICY_FILE: &str = "policy";
const VERIFIER: &str = "this verifier";

/// Checks of a report alone.
pub(crate) fn report() -> impl Iterator<Item = &'static Check> + Clone {
    GENUINE.iter().chain(POLICY)
}

/// Checks of a whole bundle.
pub(crate) fn bundle() -> impl Iterator<Item = &'static Check> + Clone {
    CHALLENGE.iter().chain(report()).chain(INSTANCE)
}

const fn check(
    class: RefusalClass,
    id: &'static str,
    source: &'static str,
    judge: fn(&Subject<'_>) -> Judged,
    fix: &'static str,
) -> Check {
    Check { id, class, source, fix, judge }
}
