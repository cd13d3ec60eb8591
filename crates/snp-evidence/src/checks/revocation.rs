//! Has AMD withdrawn an authority of the chain? Looked at where the policy asks for a list.

use super::Subject;
use crate::{
    check::{Finding, Judged, Unjudged},
    evidence::Vek,
    policy::Rule,
    revocation::RevocationList,
};

pub(super) fn present(s: &Subject<'_>) -> Judged {
    let found = s.evidence.endorsements.crl.is_some();
    s.policy.crl.judge(if found { "present" } else { "missing" }, |_| found)
}

/// Over the bytes as received, of which nothing else is read for that.
pub(super) fn signature(s: &Subject<'_>) -> Judged {
    if let Rule::Off(reason) = &s.policy.crl {
        return Ok(not_looked_at(reason));
    }
    let der = s.evidence.endorsements.crl.as_deref().ok_or(Unjudged("crl"))?;
    let signed = s.chain()?.ark.check_signed(der);
    let observed = signed.as_ref().map_or_else(ToString::to_string, |()| "valid".to_owned());
    Ok(Finding::of(signed.is_ok(), observed, "signed by the ARK, by RSASSA-PSS with SHA-384"))
}

pub(super) fn form(s: &Subject<'_>) -> Judged {
    let expected = "a complete X.509 v2 list, RSASSA-PSS with SHA-384, no unknown critical extension";
    match &s.list {
        Some(Err(error)) => Ok(Finding::of(false, error, expected)),
        Some(Ok(_)) | None => of_list(s, |_| Ok(Finding::of(true, "read", expected))),
    }
}

pub(super) fn issuer(s: &Subject<'_>) -> Judged {
    of_list(s, |list| {
        let ark = &s.chain()?.ark;
        let expected = ark.subject_common_name().unwrap_or("the ARK");
        Ok(Finding::of(list.names_issuer(ark), list.issuer_name(), expected))
    })
}

/// VEKs are never listed: only their issuer, and the root itself, can be.
pub(super) fn revoked(s: &Subject<'_>) -> Judged {
    of_list(s, |list| {
        let chain = s.chain()?;
        let issuer = if matches!(s.vek()?, Vek::Vcek(_)) { "ASK" } else { "ASVK" };
        let named = [(issuer, chain.issuer.serial()), ("ARK", chain.ark.serial())];
        let listed = named.iter().find(|(_, serial)| list.revokes(serial));
        let observed = listed
            .map_or_else(|| "neither".to_owned(), |(which, serial)| format!("{which}, serial {serial:#x}"));
        Ok(Finding::of(listed.is_none(), observed, format!("neither {issuer} nor ARK")))
    })
}

pub(super) fn dates(s: &Subject<'_>) -> Judged {
    of_list(s, |list| {
        let (from, due) = (list.this_update, list.next_update);
        s.policy.crl.judge(format!("from {from}, next one due {due}"), |budget| {
            from <= s.now && s.now.0 <= due.0.saturating_add(budget.seconds())
        })
    })
}

/// The check's finding, unless the list is not asked for or cannot be read.
fn of_list<'s>(s: &'s Subject<'_>, judge: impl FnOnce(&'s RevocationList<'s>) -> Judged) -> Judged {
    match (&s.policy.crl, &s.list) {
        (Rule::Off(reason), _) => Ok(not_looked_at(reason)),
        (_, None) => Err(Unjudged("crl")),
        (_, Some(Err(_))) => Err(Unjudged("crl.form")),
        (_, Some(Ok(list))) => judge(list),
    }
}

fn not_looked_at(reason: &str) -> Finding {
    Finding::not_required("not looked at", format!("off: {reason}"))
}
