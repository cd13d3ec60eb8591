//! Evidence that a policy is made from: judged first, and judged again by what came of it.

use snp_evidence::{
    Bundle, Challenge, Evidence, Observed, Policy, Product, ReportFacts, TrustRoots, UnixTime, appraise,
    examine,
};

use crate::{
    args::policy::NewArgs,
    ask::ask,
    failure::Failure,
    input,
    verdict::{self, Context, Judgement, Scope},
    verify,
    yardstick::says_simulated,
};

/// What was shown, and under which roots and at which time to judge it.
pub(crate) struct Shown {
    what: What,
    roots: TrustRoots,
    pub(crate) now: UnixTime,
    /// Where it is from, in words.
    pub(crate) source: String,
}

enum What {
    Stored(Evidence),
    Bundle(Vec<u8>, Challenge),
}

/// What a report said that passed the core checks.
pub(crate) struct Seen {
    pub(crate) rules: Vec<Observed>,
    pub(crate) measurement: [u8; 48],
    pub(crate) product: Product,
    pub(crate) version: u32,
    pub(crate) simulated: bool,
}

impl Shown {
    pub(crate) async fn of(args: &NewArgs) -> Result<Option<Self>, Failure> {
        let roots = input::roots(&args.roots)?;
        let (what, source) = match (&args.from, &args.from_bundle, &args.from_report, &args.certs) {
            (Some(url), _, _, _) => {
                let offer = ask(url, &args.server, attested_client::Binding::TlsExporter, None).await?;
                (What::Bundle(offer.bundle().to_vec(), offer.challenge().clone()), url.to_string())
            }
            (None, Some(file), _, _) => {
                let bytes = input::file(file)?;
                let expected = verify::challenge(args.nonce.as_ref(), args.exporter, args.spki, &bytes)?;
                (What::Bundle(bytes, expected), file.display().to_string())
            }
            (None, None, Some(report), Some(certs)) => {
                (What::Stored(verify::stored(report, Some(certs), &roots)?), report.display().to_string())
            }
            (None, None, _, _) => return Ok(None),
        };
        let now = args.at.unwrap_or_else(input::now);
        Ok(Some(Self { what, roots, now, source }))
    }

    /// What the report says, if core checks and `policy` accept it.
    pub(crate) fn judge(&self, policy: &Policy) -> Result<Seen, Box<Judgement>> {
        match &self.what {
            What::Stored(evidence) => match examine(evidence, &self.roots, policy, self.now) {
                Ok(examined) => Ok(Seen::of(&examined)),
                Err(refusal) => Err(self.refused(&refusal, Scope::Report)),
            },
            What::Bundle(bytes, expected) => match appraise(bytes, &self.roots, policy, expected, self.now) {
                Ok(verified) => Ok(Seen::of(verified.report())),
                Err(refusal) => Err(self.refused(&refusal, Scope::Bundle)),
            },
        }
    }

    /// Bound to no channel.
    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.what, What::Stored(_))
    }

    /// Whether AMD's revocation list came along.
    pub(crate) fn has_list(&self) -> bool {
        match &self.what {
            What::Stored(evidence) => evidence.endorsements.crl.is_some(),
            What::Bundle(bytes, _) => {
                Bundle::parse(bytes).is_ok_and(|bundle| bundle.evidence().endorsements.crl.is_some())
            }
        }
    }

    fn refused(&self, refusal: &snp_evidence::Refusal, scope: Scope) -> Box<Judgement> {
        let simulated = match &self.what {
            What::Stored(_) => self.roots.is_simulated(),
            What::Bundle(bytes, _) => says_simulated(bytes),
        };
        let simulated_allowed = self.roots.is_simulated();
        let context = Context { scope, simulated, simulated_allowed, policy_given: true };
        Box::new(verdict::of(Err::<&ReportFacts, _>(refusal), context))
    }
}

impl Seen {
    fn of(facts: &ReportFacts) -> Self {
        Self {
            rules: facts.observed_rules(),
            measurement: *facts.measurement(),
            product: facts.product(),
            version: facts.version(),
            simulated: facts.simulated(),
        }
    }

    pub(crate) fn has(&self, rule: &str) -> bool {
        self.rules.iter().any(|observed| observed.rule == rule)
    }
}
