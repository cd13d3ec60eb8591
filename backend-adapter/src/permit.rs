//! Leave to reach the model server.

use health_gate::attach::AttachedPermit;
use tonic::Status;

/// What the connection to the model server is made and kept with. Shipped code has one kind, the
/// attachment of the caller's own connection, which only `health-gate` makes.
pub(crate) trait Permit: Clone + Send + Sync + 'static {
    /// Why there is no leave any more, where there is none.
    fn check(&self) -> Result<(), Status>;
    /// Resolves when there is no leave any more.
    fn lapsed(&self) -> impl Future<Output = ()> + Send;
}

impl Permit for AttachedPermit {
    fn check(&self) -> Result<(), Status> {
        Self::check(self)
    }

    fn lapsed(&self) -> impl Future<Output = ()> + Send {
        Self::lapsed(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use service_runtime::CancellationToken;
    use tonic::Status;

    use super::Permit;

    /// Leave that a test takes away.
    #[derive(Clone, Default)]
    pub(crate) struct TestPermit(pub(crate) CancellationToken);

    impl Permit for TestPermit {
        fn check(&self) -> Result<(), Status> {
            if self.0.is_cancelled() { Err(Status::unavailable("lapsed")) } else { Ok(()) }
        }

        fn lapsed(&self) -> impl Future<Output = ()> + Send {
            self.0.cancelled()
        }
    }
}
