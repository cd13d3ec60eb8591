//! Many challenges in one report: a Merkle tree over (nonce, binder) pairs (docs/spec/report-data.md).
//!
//! The split is RFC 6962's: a tree of n > 1 leaves has the largest power of two below n on its left.

use crate::{
    digest::sha384,
    report_data::{Binder, put_lp},
};

/// A SHA-384 value.
pub type Hash48 = [u8; 48];

const LEAF_DOMAIN: &[u8] = b"\0cube/nonce-tree/v1";
const NODE: u8 = 1;
const ROOT: u8 = 2;

/// The leaf of one challenge.
pub fn leaf(nonce: &[u8; 32], binder: &Binder) -> Hash48 {
    let mut input = LEAF_DOMAIN.to_vec();
    put_lp(&mut input, nonce);
    put_lp(&mut input, &binder.encode());
    sha384(&[&input])
}

/// root′: the tree's root together with its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(Hash48);

impl Root {
    /// The digest that goes into `report_data`.
    pub fn as_bytes(&self) -> &Hash48 {
        &self.0
    }

    fn of(n: u32, root: &Hash48) -> Self {
        Self(sha384(&[&[ROOT], &n.to_be_bytes(), root]))
    }

    /// The root that a verifier reaches from its own leaf; `None` if `index` is outside the tree or the
    /// path is not exactly as long as this place in a tree of `n` needs.
    pub fn from_path(leaf: &Hash48, n: u32, index: u32, path: &[Hash48]) -> Option<Self> {
        let top = climb(leaf, n, index, path)?;
        Some(Self::of(n, &top))
    }
}

/// The challenges answered by one report, at most `u32::MAX`. Nothing verifies against an empty tree.
#[derive(Clone, Debug)]
pub struct NonceTree {
    /// From the leaves to the one at the top. Each pair below is one node above; who has no pair goes up as it is, which
    /// is RFC 6962's split.
    levels: Vec<Vec<Hash48>>,
}

impl NonceTree {
    /// A tree over these leaves, in this order.
    pub fn new(leaves: Vec<Hash48>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            levels.push(below.chunks(2).map(above).collect());
        }
        Self { levels }
    }

    /// Number of leaves.
    pub fn len(&self) -> u32 {
        self.levels.first().map_or(0, |leaves| u32::try_from(leaves.len()).unwrap_or(u32::MAX))
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// root′, for [`crate::ReportData::compute`].
    pub fn root(&self) -> Root {
        let top = self.levels.last().and_then(|top| top.first());
        Root::of(self.len(), &top.copied().unwrap_or_else(|| sha384(&[])))
    }

    /// Sibling digests from the leaf at `index` (below [`Self::len`]) up to the root.
    pub fn path(&self, index: u32) -> Vec<Hash48> {
        let mut place = usize::try_from(index).unwrap_or(usize::MAX);
        let sibling = |level: &Vec<Hash48>| {
            let beside = level.get(place ^ 1).copied();
            place /= 2;
            beside
        };
        self.levels.iter().filter_map(sibling).collect()
    }
}

fn above(pair: &[Hash48]) -> Hash48 {
    match pair {
        [left, right] => node(left, right),
        [alone] => *alone,
        _ => sha384(&[]),
    }
}

fn climb(leaf: &Hash48, n: u32, index: u32, path: &[Hash48]) -> Option<Hash48> {
    if index >= n {
        return None;
    }
    if n == 1 {
        return path.is_empty().then_some(*leaf);
    }
    let (sibling, below) = path.split_last()?;
    let left_size = n.checked_next_power_of_two().map_or(1 << 31, |power| power / 2);
    if index < left_size {
        Some(node(&climb(leaf, left_size, index, below)?, sibling))
    } else {
        Some(node(sibling, &climb(leaf, n - left_size, index - left_size, below)?))
    }
}

fn node(left: &Hash48, right: &Hash48) -> Hash48 {
    sha384(&[&[NODE], left, right])
}
