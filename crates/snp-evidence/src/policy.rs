//! Stub.
/// What a deployment accepts.
#[derive(Clone, Debug)]
pub struct Policy { sha256: [u8; 32] }
/// Every problem of a policy file.
#[derive(Debug, thiserror::Error)]
#[error("policy is wrong:\n  {}", .0.join("\n  "))]
pub struct PolicyErrors(pub Vec<String>);
impl Policy {
    /// Reads a policy file; reports every problem at once.
    pub fn parse(toml: &[u8]) -> Result<Self, PolicyErrors> {
        std::str::from_utf8(toml).map_err(|_| PolicyErrors(vec!["policy is not UTF-8".into()]))?;
        Ok(Self { sha256: crate::verify::sha256(toml) })
    }
    /// SHA-256 of the exact bytes given to [`Policy::parse`].
    pub fn sha256(&self) -> [u8; 32] { self.sha256 }
}
