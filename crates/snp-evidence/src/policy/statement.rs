//! A policy rule by rule, for people and for comparing: the one table of all rules.

use std::cmp::Ordering;

use serde::Serialize;

use super::{Chips, Policy, Rule, strictness::Demand};
use crate::{encoding::hex, product::Product};

/// One rule as a policy states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Place in the policy file; for most also the id of the check.
    pub id: &'static str,
    /// How the rule is set.
    pub setting: Setting,
    /// What has to hold; empty for a rule that is off.
    pub demand: String,
    /// Why it is off, or asks for less than it could.
    pub reason: Option<String>,
    /// Nothing can meet it: an empty list, or a floor above everything.
    pub accepts_nothing: bool,
}

/// How a rule is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// One thing has to hold.
    Required,
    /// One of a list has to hold.
    Allowed,
    /// Not judged, with a reason.
    Off,
}

/// One rule in two policies.
#[derive(Clone, Debug)]
pub struct Change {
    /// As the first states it.
    pub from: Statement,
    /// As the second states it.
    pub to: Statement,
    /// What the second makes of it.
    pub direction: Direction,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Whatever met it still does, and more does.
    Looser,
    /// Whatever meets it now did before, and more did.
    Stricter,
    /// Neither.
    Other,
    /// The same demand, for another reason.
    Reason,
    /// The same in every word.
    Same,
}

impl Policy {
    /// Every rule, in the order in which verdicts list them.
    pub fn statements(&self) -> Vec<Statement> {
        rows(self, self).into_iter().map(|row| row.from).collect()
    }

    /// Every rule of this policy beside that of another.
    pub fn compare(&self, to: &Self) -> Vec<Change> {
        rows(self, to)
    }
}

/// What stands here is explained and compared; a test holds it against what is judged.
fn rows(a: &Policy, b: &Policy) -> Vec<Change> {
    let (ga, gb, ta, tb) = (&a.guest_policy, &b.guest_policy, &a.tcb, &b.tcb);
    let first = [
        row("crl", &a.crl, &b.crl),
        row("report_data", &a.report_data, &b.report_data),
        row("report_version", &a.report_version, &b.report_version),
    ];
    let rest = [
        row("guest_policy.debug", &ga.debug, &gb.debug),
        row("guest_policy.migration_agent", &ga.migration_agent, &gb.migration_agent),
        row("guest_policy.smt", &ga.smt, &gb.smt),
        row("guest_policy.single_socket", &ga.single_socket, &gb.single_socket),
        row("guest_policy.abi", &ga.abi, &gb.abi),
        row("guest_policy.features", &ga.features, &gb.features),
        row("vmpl", &a.vmpl, &b.vmpl),
        row("tcb.reported", &ta.reported, &tb.reported),
        row("tcb.committed", &ta.committed, &tb.committed),
        row("tcb.launch", &ta.launch, &tb.launch),
        row("tcb.current", &ta.current, &tb.current),
        row("tcb.committed_is_current", &ta.committed_is_current, &tb.committed_is_current),
        row("tcb.ordered", &ta.ordered, &tb.ordered),
        row("firmware_version", &a.firmware_version, &b.firmware_version),
        row("platform_info", &a.platform_info, &b.platform_info),
        row("mitigations", &a.mitigations, &b.mitigations),
        row("id_key", &a.id_key, &b.id_key),
        row("author_key", &a.author_key, &b.author_key),
        row("family_id", &a.family_id, &b.family_id),
        row("image_id", &a.image_id, &b.image_id),
        row("guest_svn", &a.guest_svn, &b.guest_svn),
        row("report_id", &a.report_id, &b.report_id),
        row("report_id_ma", &a.report_id_ma, &b.report_id_ma),
        row("measurement", &a.measurement, &b.measurement),
        row("host_data", &a.host_data, &b.host_data),
        row("vlek.csp", &a.vlek_csp, &b.vlek_csp),
        row("gpu_evidence", &a.gpu_evidence, &b.gpu_evidence),
        row("instance.identity", &a.instance_identity, &b.instance_identity),
    ];
    let chips = Product::ALL.into_iter().filter_map(|product| {
        Some(change(product_id(product), &(a.chips(product)?, product), &(b.chips(product)?, product)))
    });
    first.into_iter().chain(chips).chain(rest).collect()
}

pub(super) fn product_id(product: Product) -> &'static str {
    match product {
        Product::Milan => "product.milan",
        Product::Genoa => "product.genoa",
        Product::Turin => "product.turin",
    }
}

fn row<T: Demand>(id: &'static str, a: &Rule<T>, b: &Rule<T>) -> Change {
    change(id, a, b)
}

/// What a row is made of: a rule, or the chips of a product.
trait Stated {
    fn statement(&self, id: &'static str) -> Statement;
    fn strictness(&self, other: &Self) -> Option<Ordering>;
}

fn change<T: Stated>(id: &'static str, a: &T, b: &T) -> Change {
    let (from, to) = (a.statement(id), b.statement(id));
    let direction = match b.strictness(a) {
        Some(Ordering::Greater) => Direction::Stricter,
        Some(Ordering::Less) => Direction::Looser,
        Some(Ordering::Equal) if from.reason == to.reason => Direction::Same,
        Some(Ordering::Equal) => Direction::Reason,
        None => Direction::Other,
    };
    Change { from, to, direction }
}

impl<T: Demand> Stated for Rule<T> {
    fn statement(&self, id: &'static str) -> Statement {
        match self {
            Rule::On(demand) => Statement {
                id,
                setting: if demand.is_list() { Setting::Allowed } else { Setting::Required },
                demand: demand.to_string(),
                reason: demand.reason().map(str::to_owned),
                accepts_nothing: demand.accepts_nothing(),
            },
            Rule::Off(reason) => Statement {
                id,
                setting: Setting::Off,
                demand: String::new(),
                reason: Some(reason.clone()),
                accepts_nothing: false,
            },
            Rule::Unreadable => Statement {
                id,
                setting: Setting::Required,
                demand: "a readable policy".to_owned(),
                reason: None,
                accepts_nothing: true,
            },
        }
    }

    fn strictness(&self, other: &Self) -> Option<Ordering> {
        Rule::strictness(self, other)
    }
}

impl Stated for (&Chips, Product) {
    fn statement(&self, id: &'static str) -> Statement {
        let (chips, product) = self;
        let (demand, reason) = match chips {
            Chips::Any(reason) => (format!("any genuine {product}"), Some(reason.clone())),
            Chips::Listed(chips) if chips.is_empty() => (format!("no {product}, the list is empty"), None),
            Chips::Listed(chips) => {
                let ids: Vec<_> = chips.iter().map(hex).collect();
                (format!("by VCEK, chip {}", ids.join(", ")), None)
            }
        };
        let accepts_nothing = chips.accept_nothing();
        Statement { id, setting: Setting::Allowed, demand, reason, accepts_nothing }
    }

    fn strictness(&self, other: &Self) -> Option<Ordering> {
        self.0.strictness(other.0)
    }
}
