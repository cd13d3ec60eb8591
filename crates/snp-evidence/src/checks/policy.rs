//! Does the report say what the policy wants? One function per rule, in the order of the table.

use super::Subject;
use crate::{
    check::{Finding, Judged},
    encoding::hex,
    evidence::Vek,
    policy::{Bits, Bytes, Chips, Minimum, PerProduct, Rule, Version},
    report::{Firmware, HOST_REQUESTED, Mitigations, Report},
    tcb::{RawTcb, Tcb},
};

pub(super) fn report_version(s: &Subject<'_>) -> Judged {
    let version = s.report()?.version;
    s.policy.report_version.judge(version, |allowed| allowed.has(&version))
}

/// A VLEK says nothing trustworthy about the chip, so a list of chips admits none.
pub(super) fn product(s: &Subject<'_>) -> Judged {
    let (report, product) = (s.report()?, s.product()?);
    let chip = report.chip_id_of(product);
    let observed = format!("{product}, chip {}", hex(chip));
    Ok(match s.policy.chips(product) {
        Some(Chips::Any(reason)) => Finding::of(true, observed, format!("any {product}: {reason}")),
        Some(Chips::Listed(chips)) => {
            let met = matches!(s.vek()?, Vek::Vcek(_)) && chips.iter().any(|listed| listed == chip);
            Finding::of(met, observed, format!("one of {} listed chips, by VCEK", chips.len()))
        }
        None => Finding::of(false, observed, "a product of the policy"),
    })
}

pub(super) fn debug(s: &Subject<'_>) -> Judged {
    let debug = s.report()?.policy.debug();
    s.policy.guest_policy.debug.judge(allowed(debug), |_| !debug)
}

pub(super) fn migration_agent(s: &Subject<'_>) -> Judged {
    let migration = s.report()?.policy.migration_agent();
    s.policy.guest_policy.migration_agent.judge(allowed(migration), |_| !migration)
}

pub(super) fn smt(s: &Subject<'_>) -> Judged {
    let smt = s.report()?.policy.smt();
    s.policy.guest_policy.smt.judge(allowed(smt), |_| !smt)
}

fn allowed(bit: bool) -> &'static str {
    if bit { "allowed" } else { "forbidden" }
}

pub(super) fn single_socket(s: &Subject<'_>) -> Judged {
    let required = s.report()?.policy.single_socket();
    let observed = if required { "required" } else { "not required" };
    s.policy.guest_policy.single_socket.judge(observed, |_| required)
}

pub(super) fn abi(s: &Subject<'_>) -> Judged {
    let (major, minor) = s.report()?.policy.abi();
    let abi = Version([major, minor]);
    s.policy.guest_policy.abi.judge(abi, |least| least.met_by(&abi))
}

pub(super) fn features(s: &Subject<'_>) -> Judged {
    let (product, bits) = (s.product()?, s.report()?.policy.0);
    let rule = &s.policy.guest_policy.features;
    rule.judge(format!("{bits:#x}"), |wanted| wanted.met_by(product, |wanted| wanted.met_by(bits)))
}

pub(super) fn vmpl(s: &Subject<'_>) -> Judged {
    let vmpl = s.report()?.vmpl;
    let observed =
        if vmpl == HOST_REQUESTED { "the host asked, not the guest".to_owned() } else { vmpl.to_string() };
    s.policy.vmpl.judge(observed, |allowed| allowed.has(&vmpl))
}

pub(super) fn tcb_reported(s: &Subject<'_>) -> Judged {
    floor(s, &s.policy.tcb.reported, |report| report.reported_tcb)
}

pub(super) fn tcb_committed(s: &Subject<'_>) -> Judged {
    floor(s, &s.policy.tcb.committed, |report| report.committed_tcb)
}

pub(super) fn tcb_launch(s: &Subject<'_>) -> Judged {
    floor(s, &s.policy.tcb.launch, |report| report.launch_tcb)
}

pub(super) fn tcb_current(s: &Subject<'_>) -> Judged {
    floor(s, &s.policy.tcb.current, |report| report.current_tcb)
}

fn floor(s: &Subject<'_>, rule: &Rule<PerProduct<Minimum<Tcb>>>, which: fn(&Report) -> RawTcb) -> Judged {
    let (product, tcb) = (s.product()?, s.tcb(which)?);
    rule.judge(tcb, |floors| floors.met_by(product, |floor| tcb.covers(floor.0)))
}

/// Firmware that is not committed can be rolled back under a running guest.
pub(super) fn committed_is_current(s: &Subject<'_>) -> Judged {
    let report = s.report()?;
    let (committed, current) = (s.tcb(|report| report.committed_tcb)?, s.tcb(|report| report.current_tcb)?);
    let met = committed == current && report.committed_firmware == report.current_firmware;
    let observed = format!(
        "committed {} ({committed}), current {} ({current})",
        report.committed_firmware, report.current_firmware
    );
    s.policy.tcb.committed_is_current.judge(observed, |_| met)
}

pub(super) fn tcb_ordered(s: &Subject<'_>) -> Judged {
    let report = s.report()?;
    let (reported, committed) = (s.tcb(|report| report.reported_tcb)?, s.tcb(|report| report.committed_tcb)?);
    let (launch, current) = (s.tcb(|report| report.launch_tcb)?, s.tcb(|report| report.current_tcb)?);
    let met = committed.covers(reported)
        && current.covers(committed)
        && current.covers(launch)
        && report.current_firmware >= report.committed_firmware;
    let observed = format!(
        "reported {reported}; committed {} {committed}; launch {launch}; current {} {current}",
        report.committed_firmware, report.current_firmware
    );
    s.policy.tcb.ordered.judge(observed, |_| met)
}

/// The committed version: what the host can go back to.
pub(super) fn firmware_version(s: &Subject<'_>) -> Judged {
    let (product, Firmware { major, minor, build }) = (s.product()?, s.report()?.committed_firmware);
    let version = Version([major, minor, build]);
    s.policy.firmware_version.judge(version, |least| least.met_by(product, |least| least.met_by(&version)))
}

/// Bits that no name is known for are refused: nobody could have demanded or forbidden them.
pub(super) fn platform_info(s: &Subject<'_>) -> Judged {
    let (product, bits) = (s.product()?, s.report()?.platform_info);
    let met = |wanted: &Bits| wanted.met_by(bits) && bits & !wanted.named() == 0;
    s.policy.platform_info.judge(format!("{bits:#x}"), |wanted| wanted.met_by(product, met))
}

pub(super) fn mitigations(s: &Subject<'_>) -> Judged {
    let (product, found) = (s.product()?, s.report()?.mitigations);
    let observed = found.map_or_else(
        || "not stated before report version 5".to_owned(),
        |found| format!("launch {:#x}, current {:#x}", found.launch, found.current),
    );
    s.policy.mitigations.judge(observed, |wanted| {
        let met =
            |found: Mitigations| wanted.met_by(product, |masks| masks.0.met_by(found.launch, found.current));
        found.is_some_and(met)
    })
}

pub(super) fn id_key(s: &Subject<'_>) -> Judged {
    let key = Bytes(s.report()?.id_key_digest);
    s.policy.id_key.judge(key, |allowed| allowed.has(&key))
}

/// The digest counts only where the report says that an author key was used.
pub(super) fn author_key(s: &Subject<'_>) -> Judged {
    let report = s.report()?;
    let (used, key) = (report.key_info.author_key(), Bytes(report.author_key_digest));
    let observed = if used { key.to_string() } else { "no author key".to_owned() };
    s.policy.author_key.judge(observed, |allowed| used && allowed.has(&key))
}

pub(super) fn family_id(s: &Subject<'_>) -> Judged {
    let id = Bytes(s.report()?.family_id);
    s.policy.family_id.judge(id, |allowed| allowed.has(&id))
}

pub(super) fn image_id(s: &Subject<'_>) -> Judged {
    let id = Bytes(s.report()?.image_id);
    s.policy.image_id.judge(id, |allowed| allowed.has(&id))
}

pub(super) fn guest_svn(s: &Subject<'_>) -> Judged {
    let svn = s.report()?.guest_svn;
    s.policy.guest_svn.judge(svn, |least| least.met_by(&svn))
}

pub(super) fn report_id(s: &Subject<'_>) -> Judged {
    let id = Bytes(s.report()?.report_id);
    s.policy.report_id.judge(id, |allowed| allowed.has(&id))
}

pub(super) fn report_id_ma(s: &Subject<'_>) -> Judged {
    let id = Bytes(s.report()?.report_id_ma);
    s.policy.report_id_ma.judge(id, |wanted| wanted.met_by(&id))
}

pub(super) fn measurement(s: &Subject<'_>) -> Judged {
    let measurement = Bytes(s.report()?.measurement);
    s.policy.measurement.judge(measurement, |wanted| wanted.allow.has(&measurement))
}

pub(super) fn host_data(s: &Subject<'_>) -> Judged {
    let data = Bytes(s.report()?.host_data);
    s.policy.host_data.judge(data, |allowed| allowed.has(&data))
}

pub(super) fn vlek_csp(s: &Subject<'_>) -> Judged {
    if matches!(s.vek()?, Vek::Vcek(_)) {
        return Ok(Finding::not_required("VCEK", "the chip's own key signed"));
    }
    let provider = s.facts()?.csp_id.clone().unwrap_or_default();
    s.policy.vlek_csp.judge(&provider, |allowed| allowed.has(&provider))
}

pub(super) fn gpu_evidence(s: &Subject<'_>) -> Judged {
    s.policy.gpu_evidence.judge("none", |_| false)
}
