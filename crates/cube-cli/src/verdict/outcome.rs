//! What the verifiers decide, in the one form that a judgement is made of.

use azure_vtpm::VerifiedQuote;
use snp_evidence::{CheckOutcome, RefusalClass, ReportFacts};

/// Evidence that passed every check.
pub(crate) trait Accepted {
    fn facts(&self) -> &ReportFacts;
    fn checks(&self) -> &[CheckOutcome];
}

/// Evidence that did not.
pub(crate) trait Refused {
    fn class(&self) -> RefusalClass;
    /// Id of the first check that failed.
    fn reason(&self) -> &'static str;
    fn checks(&self) -> &[CheckOutcome];
}

impl Accepted for ReportFacts {
    fn facts(&self) -> &ReportFacts {
        self
    }

    fn checks(&self) -> &[CheckOutcome] {
        self.checks()
    }
}

impl Accepted for VerifiedQuote {
    fn facts(&self) -> &ReportFacts {
        self.report()
    }

    fn checks(&self) -> &[CheckOutcome] {
        self.checks()
    }
}

macro_rules! refused {
    ($($refusal:ty),+) => {$(
        impl Refused for $refusal {
            fn class(&self) -> RefusalClass {
                self.class()
            }

            fn reason(&self) -> &'static str {
                self.reason()
            }

            fn checks(&self) -> &[CheckOutcome] {
                self.checks()
            }
        }
    )+};
}

refused!(snp_evidence::Refusal, azure_vtpm::Refusal);
