//! What a report is asked for.

use crate::{
    nonce_tree::{Hash48, NonceTree, leaf},
    report_data::{Binder, Purpose, ReportData},
};

/// A challenge as this end of the channel knows it, attester or verifier: nothing here comes from the other end's
/// word, save the nonce, which is the verifier's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Why the evidence is asked for.
    pub purpose: Purpose,
    /// The verifier's own 32 random bytes.
    pub nonce: [u8; 32],
    /// The channel as this end sees it.
    pub binder: Binder,
}

impl Challenge {
    /// What a report has to carry that answers this challenge and no other, over these exact bytes.
    pub fn report_data_alone(&self, key_manifest: &[u8], runtime_claims: &[u8]) -> ReportData {
        let root = NonceTree::new(vec![self.leaf()]).root();
        ReportData::compute(self.purpose, &root, key_manifest, runtime_claims)
    }

    pub(crate) fn leaf(&self) -> Hash48 {
        leaf(&self.nonce, &self.binder)
    }
}
