//! Every check, in the order in which a verdict lists them. The first that fails is the reason.
//!
//! Core checks (classes evidence, collateral, channel) have no off switch. A policy check is set by the rule
//! of the same name in the policy file.

mod bundle;
mod core;
mod policy;
mod subject;

use crate::check::{Check, Judged, RefusalClass};

pub(crate) use subject::{BundlePart, Subject};

/// Before the report of a bundle is looked at: was it made for this challenge?
#[rustfmt::skip]
const CHALLENGE: &[Check] = &[
    evidence("bundle.structure", SENDER, bundle::structure, "the peer speaks another version of Cube's bundle"),
    channel("bundle.purpose", SENDER, bundle::purpose, "ask the endpoint meant for this purpose"),
    channel("bundle.nonce", CHALLENGER, bundle::nonce, "the answer is replayed; ask again with a fresh nonce"),
    channel("bundle.binding", CONNECTION, bundle::binding, "the evidence is for another connection or listener"),
    channel("bundle.tree", SENDER, bundle::tree, "the nonce's place in the report is wrong; ask again"),
];

/// Is the report genuine, and made for us?
#[rustfmt::skip]
const GENUINE: &[Check] = &[
    evidence("evidence.format", VERIFIER, core::format, "simulated evidence needs the simulator's root, and only that"),
    evidence("report.structure", AMD, core::structure, "send the report unchanged as the processor made it"),
    policy("report_version", AMD, policy::report_version, "name the version in the policy if you accept it"),
    evidence("report.signing_key", AMD, core::signing_key, "ask the host for reports signed by an unmasked VCEK or VLEK"),
    collateral("collateral.vek", SENDER, core::vek_present, "add the chip's VCEK, or the VLEK, for the reported TCB"),
    evidence("report.product", AMD, core::product, "this processor is not supported"),
    evidence("report.tcb_reserved", AMD, core::tcb_reserved, "send the report unchanged as the processor made it"),
    evidence("chain.pinned_root", VERIFIER, core::pinned_root, "use roots that cover this product"),
    evidence("chain.offered_ca", SENDER, core::offered_ca, "a CA certificate is not AMD's; suspect the host"),
    collateral("collateral.asvk", SENDER, core::asvk_present, "add the product's ASVK certificate from AMD's key server"),
    evidence("chain.form", AMD, core::chain_form, "use the certificates exactly as AMD's key server sends them"),
    evidence("chain.names", AMD, core::chain_names, "use the certificates of this product and key type"),
    evidence("chain.dates", AMD, core::chain_dates, "get a certificate that is valid now, and check the clock"),
    evidence("chain.signatures", AMD, core::chain_signatures, "a certificate is forged or damaged"),
    evidence("vek.form", AMD, core::vek_form, "use the certificates exactly as AMD's key server sends them"),
    evidence("vek.tcb", AMD, core::vek_tcb, "get the VEK for the reported TCB"),
    evidence("vek.hwid", AMD, core::vek_hwid, "get the VCEK of this chip"),
    evidence("report.signature_algorithm", AMD, core::signature_algorithm, "this signature algorithm is not supported"),
    evidence("report.signature", AMD, core::signature, "the report is forged or damaged, or the VEK is another chip's"),
    channel("report_data", CONNECTION, core::report_data, "the report was made for another challenge, key or channel"),
];

/// Does it say what the policy wants?
#[rustfmt::skip]
const POLICY: &[Check] = &[
    policy("product", AMD, policy::product, "list the chip, or accept the product, in the policy"),
    policy("guest_policy.debug", AMD, policy::debug, "launch the guest with debugging off"),
    policy("guest_policy.migration_agent", AMD, policy::migration_agent, "launch the guest without migration agent"),
    policy("guest_policy.smt", AMD, policy::smt, "launch the guest with SMT forbidden"),
    policy("guest_policy.single_socket", AMD, policy::single_socket, "launch the guest bound to one socket"),
    policy("guest_policy.abi", AMD, policy::abi, "launch the guest with a higher minimum ABI"),
    policy("guest_policy.features", AMD, policy::features, "launch the guest with the demanded policy bits"),
    policy("vmpl", AMD, policy::vmpl, "ask for the report at the VMPL that the policy names"),
    policy("tcb.reported", AMD, policy::tcb_reported, "the host has to update its firmware"),
    policy("tcb.committed", AMD, policy::tcb_committed, "the host has to commit newer firmware"),
    policy("tcb.launch", AMD, policy::tcb_launch, "relaunch the guest on updated firmware"),
    policy("tcb.current", AMD, policy::tcb_current, "the host has to update its firmware"),
    policy("tcb.committed_is_current", AMD, policy::committed_is_current, "the host has to commit its firmware"),
    policy("tcb.ordered", AMD, policy::tcb_ordered, "the host runs firmware older than it reports"),
    policy("firmware_version", AMD, policy::firmware_version, "the host has to update its firmware"),
    policy("platform_info", AMD, policy::platform_info, "the host has to change its platform settings"),
    policy("mitigations", AMD, policy::mitigations, "the host has to apply the mitigations and relaunch"),
    policy("id_key", AMD, policy::id_key, "launch the guest with an ID block by a listed key"),
    policy("author_key", AMD, policy::author_key, "launch the guest with an ID block by a listed author"),
    policy("family_id", AMD, policy::family_id, "launch a guest of a listed family"),
    policy("image_id", AMD, policy::image_id, "launch a listed image"),
    policy("guest_svn", AMD, policy::guest_svn, "launch a newer image"),
    policy("report_id_ma", AMD, policy::report_id_ma, "launch the guest without migration agent"),
    policy("measurement", AMD, policy::measurement, "other software runs there; list its measurement if it is yours"),
    policy("host_data", AMD, policy::host_data, "another configuration runs there; list its digest if it is yours"),
    policy("vlek.csp", AMD, policy::vlek_csp, "list the provider in the policy"),
    collateral("crl", AMD, policy::crl, "this version reads no revocation lists: { off = \"why\" }"),
    policy("gpu_evidence", VERIFIER, policy::gpu_evidence, "this version judges no GPU evidence: { off = \"why\" }"),
];

/// Do the bundle's other parts belong to it, and is this the instance we mean?
#[rustfmt::skip]
const INSTANCE: &[Check] = &[
    evidence("manifest.structure", CVM, bundle::manifest, "the peer speaks another version of Cube's key manifest"),
    evidence("claims.structure", CVM, bundle::claims, "the peer's runtime claims contradict its manifest or report"),
    channel("manifest.tls_key", CVM, bundle::tls_key, "the TLS key is not this CVM's own for this listener: a proxy?"),
    policy("instance.identity", POLICY_FILE, bundle::identity, "pin host_data, chips, id_key or ca_spki in the policy"),
];

const AMD: &str = "AMD";
const CVM: &str = "the measured CVM";
const SENDER: &str = "nobody";
const CHALLENGER: &str = "this challenge";
const CONNECTION: &str = "this connection";
const POLICY_FILE: &str = "policy";
const VERIFIER: &str = "this verifier";

/// Checks of a report alone.
pub(crate) fn report() -> impl Iterator<Item = &'static Check> {
    GENUINE.iter().chain(POLICY)
}

/// Checks of a whole bundle.
pub(crate) fn bundle() -> impl Iterator<Item = &'static Check> {
    CHALLENGE.iter().chain(report()).chain(INSTANCE)
}

type Judge = fn(&Subject<'_>) -> Judged;

const fn evidence(id: &'static str, source: &'static str, judge: Judge, fix: &'static str) -> Check {
    Check { id, class: RefusalClass::Evidence, source, fix, judge }
}

const fn collateral(id: &'static str, source: &'static str, judge: Judge, fix: &'static str) -> Check {
    Check { id, class: RefusalClass::Collateral, source, fix, judge }
}

const fn channel(id: &'static str, source: &'static str, judge: Judge, fix: &'static str) -> Check {
    Check { id, class: RefusalClass::Channel, source, fix, judge }
}

const fn policy(id: &'static str, source: &'static str, judge: Judge, fix: &'static str) -> Check {
    Check { id, class: RefusalClass::Policy, source, fix, judge }
}
