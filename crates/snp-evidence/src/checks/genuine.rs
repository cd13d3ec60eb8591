//! Is this a genuine report of a genuine processor?
#![expect(clippy::unnecessary_wraps, reason = "every check has one shape, so that the table can hold it")]

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::{Expected, Subject};
use crate::{
    chain,
    check::{Finding, Judged, Unjudged},
    encoding::hex,
    evidence::{EvidenceFormat, Vek},
    product::Product,
    report::{SIGNED_SIZE, SigningKey},
};

pub(super) fn format(s: &Subject<'_>) -> Judged {
    let expected =
        if s.roots.is_simulated() { EvidenceFormat::SimulatedAmdSevSnp } else { EvidenceFormat::AmdSevSnp };
    Ok(Finding::of(s.evidence.format == expected, s.evidence.format, expected))
}

pub(super) fn structure(s: &Subject<'_>) -> Judged {
    let expected = "1184 bytes of version 2 to 5, all reserved parts zero";
    Ok(match &s.report {
        Ok(report) => Finding::of(true, format!("version {}", report.version), expected),
        Err(error) => Finding::of(false, error, expected),
    })
}

/// The report says which key signed it; a masked or absent key signs nothing.
pub(super) fn signing_key(s: &Subject<'_>) -> Judged {
    let info = s.report()?.key_info;
    let key = info.signing_key();
    let expected = match &s.evidence.endorsements.vek {
        Some(Vek::Vcek(_)) => "VCEK, unmasked",
        Some(Vek::Vlek(_)) => "VLEK, unmasked",
        None => "VCEK or VLEK, unmasked",
    };
    let fits = match &s.evidence.endorsements.vek {
        Some(Vek::Vcek(_)) => key == SigningKey::Vcek,
        Some(Vek::Vlek(_)) => key == SigningKey::Vlek,
        None => matches!(key, SigningKey::Vcek | SigningKey::Vlek),
    };
    let masked = if info.mask_chip_key() { ", masked" } else { "" };
    Ok(Finding::of(fits && masked.is_empty(), format!("{key}{masked}"), expected))
}

pub(super) fn vek_present(s: &Subject<'_>) -> Judged {
    let key = s.report()?.key_info.signing_key();
    let found = s.evidence.endorsements.vek.is_some();
    Ok(Finding::of(found, if found { "present" } else { "missing" }, format!("certificate of the {key}")))
}

pub(super) fn product(s: &Subject<'_>) -> Judged {
    let report = s.report()?;
    let product = s.product?;
    let observed = match (product, report.cpuid) {
        (Some(product), _) => product.to_string(),
        (None, Some((family, model))) => {
            let line = Product::unsupported_line(family, model).unwrap_or("unknown processor");
            format!("{line}, CPU family {family:#x} model {model:#x}")
        }
        (None, None) => "a report without CPU model, and no AMD issuer of its VEK".to_owned(),
    };
    Ok(Finding::of(product.is_some(), observed, "milan, genoa or turin"))
}

/// What only the product can tell to be reserved.
pub(super) fn product_reserved(s: &Subject<'_>) -> Judged {
    let (report, product) = (s.report()?, s.product()?);
    let tcbs = report.tcbs().into_iter().all(|tcb| tcb.reserved_is_zero(product));
    let chip_id = report.chip_id.iter().skip(report.chip_id_of(product).len()).all(|byte| *byte == 0);
    let observed = match (tcbs, chip_id) {
        (true, true) => "zero",
        (false, _) => "bytes of a TCB are not zero",
        (true, false) => "bytes behind the chip id are not zero",
    };
    Ok(Finding::of(tcbs && chip_id, observed, format!("bytes that {product} reserves zero")))
}

/// The ARK and ASK that we carry; an ASVK comes along and is compared by `chain.offered_ca`.
pub(super) fn pinned_root(s: &Subject<'_>) -> Judged {
    let product = s.product()?;
    let expected = format!("pinned ARK and ASK for {product}");
    let Some(set) = s.roots.of(product) else {
        return Ok(Finding::of(false, format!("no roots for {product}"), expected));
    };
    let kind = if s.roots.is_simulated() { "simulator" } else { "AMD" };
    Ok(Finding::of(set.is_pinned(), format!("{kind} ARK {}", hex(set.carried.0)), expected))
}

pub(super) fn offered_ca(s: &Subject<'_>) -> Judged {
    let stranger = chain::offered_stranger(&s.evidence.endorsements, s.root_set()?);
    let expected = "pinned CA certificates only, the VEK's own issuer among them";
    Ok(Finding::of(stranger.is_none(), stranger.unwrap_or("none or pinned"), expected))
}

pub(super) fn asvk_present(s: &Subject<'_>) -> Judged {
    if matches!(s.vek()?, Vek::Vcek(_)) {
        return Ok(Finding::not_required("VCEK", "VCEKs are issued by the ASK"));
    }
    let found = s.evidence.endorsements.asvk.is_some();
    Ok(Finding::of(found, if found { "present" } else { "missing" }, "ASVK certificate"))
}

pub(super) fn chain_form(s: &Subject<'_>) -> Judged {
    let expected = "X.509 v3, RSASSA-PSS with SHA-384";
    Ok(match s.chain.as_ref().map_err(|missing| *missing)? {
        Ok(_) => Finding::of(true, expected, expected),
        Err(error) => Finding::of(false, error, expected),
    })
}

pub(super) fn chain_names(s: &Subject<'_>) -> Judged {
    let product = s.product()?;
    let misnamed = s.chain()?.misnamed(product, s.vek()?);
    let expected = format!("AMD's names and constraints for {product}");
    let observed =
        misnamed.map_or_else(|| expected.clone(), |which| format!("another name or constraint: {which}"));
    Ok(Finding::of(misnamed.is_none(), observed, expected))
}

pub(super) fn chain_dates(s: &Subject<'_>) -> Judged {
    let chain = s.chain()?;
    let out = chain.out_of_date(s.now);
    let met = out.is_none();
    let observed = out.unwrap_or_else(|| format!("VEK valid from {}", chain.vek.validity()));
    Ok(Finding::of(met, observed, format!("valid at {}", s.now)))
}

pub(super) fn chain_signatures(s: &Subject<'_>) -> Judged {
    let signed = match s.chain.as_ref().map_err(|missing| *missing)? {
        Ok(chain) => s.roots.memory.vouch(chain, || chain.check_signatures()),
        Err(_) => chain::check_raw_signatures(s.ders?),
    };
    let expected = "ARK, its issuer certificate and the VEK signed by RSASSA-PSS with SHA-384";
    Ok(match signed {
        Ok(()) => Finding::of(true, "3 valid", expected),
        Err(error) => Finding::of(false, error, expected),
    })
}

pub(super) fn vek_form(s: &Subject<'_>) -> Judged {
    let product = s.product()?;
    let chain = s.chain()?;
    let expected = format!("P-384 key for {product}");
    Ok(match (chain.vek.p384_key(), &chain.facts) {
        (_, Err(error)) => Finding::of(false, error, expected),
        (None, Ok(_)) => Finding::of(false, "no P-384 key", expected),
        (Some(_), Ok(facts)) => {
            let observed = format!("P-384 key for {}", facts.product_name);
            Finding::of(facts.is_of_line(product), observed, expected)
        }
    })
}

pub(super) fn vek_tcb(s: &Subject<'_>) -> Judged {
    let reported = s.tcb(|report| report.reported_tcb)?;
    let certified = s.facts()?.tcb;
    Ok(Finding::of(certified == reported, format!("certified {certified}"), format!("reported {reported}")))
}

/// A VCEK is one chip's; a VLEK is one provider's and says nothing about the chip. The id of a chip stands raw in
/// the certificate, 64 or 8 bytes, and is compared as it stands. A host that masks it (`MASK_CHIP_ID`) leaves zeros,
/// which are no chip's.
pub(super) fn vek_hwid(s: &Subject<'_>) -> Judged {
    let (report, product, facts) = (s.report()?, s.product()?, s.facts()?);
    let chip = report.chip_id_of(product);
    match s.vek()? {
        Vek::Vcek(_) => {
            let met = facts.hwid.as_deref() == Some(chip) && facts.csp_id.is_none();
            let observed = facts.hwid.as_ref().map_or_else(|| "no HWID".to_owned(), hex);
            let masked = if chip.iter().all(|byte| *byte == 0) { ", masked by the host," } else { "" };
            Ok(Finding::of(met, observed, format!("chip {}{masked} and no provider", hex(chip))))
        }
        Vek::Vlek(_) => {
            let met = facts.hwid.is_none() && facts.csp_id.is_some();
            let observed = facts.csp_id.as_deref().unwrap_or("no provider");
            Ok(Finding::of(met, observed, "a provider and no chip"))
        }
    }
}

pub(super) fn signature_algorithm(s: &Subject<'_>) -> Judged {
    let algorithm = s.report()?.signature_algo;
    Ok(Finding::of(algorithm == 1, algorithm, "1, ECDSA P-384 with SHA-384"))
}

/// Over the bytes as received, never over a re-encoded form.
pub(super) fn signature(s: &Subject<'_>) -> Judged {
    let report = s.report()?;
    let point = s.chain()?.vek.p384_key().ok_or(Unjudged("vek.form"))?;
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
    let signed = s.evidence.report.get(..SIGNED_SIZE).ok_or(Unjudged("report.structure"))?;
    let met = key.verify(signed, &report.signature).is_ok();
    Ok(Finding::of(met, if met { "valid" } else { "not valid" }, "valid under the VEK"))
}

/// A policy can switch this off for stored reports only: live evidence is always compared.
pub(super) fn report_data(s: &Subject<'_>) -> Judged {
    let found = s.report()?.report_data;
    match s.expected {
        Expected::Exactly(expected) => {
            Ok(Finding::of(found == *expected.as_bytes(), hex(found), hex(expected.as_bytes())))
        }
        Expected::Impossible => Err(Unjudged("bundle.tree")),
        // A stored report has nothing to be compared with, so that a policy that requires it refuses.
        Expected::Stored => s.policy.report_data.judge(hex(found), |_| false),
    }
}
