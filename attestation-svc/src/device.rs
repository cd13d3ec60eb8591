//! The search for the device. It asks the kernel, which may keep it waiting: off the runtime's threads, under a
//! deadline, and no obstacle to a stop.

use std::time::Duration;

use service_runtime::{CancellationToken, Exit, ends};
use snp_platform::{Platform, PlatformError};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

/// What `find` finds within `limit`; else why the service ends.
pub async fn find_device(
    find: impl FnOnce() -> Result<Box<dyn Platform>, PlatformError> + Send + 'static,
    limit: Duration,
    shutdown: &CancellationToken,
) -> Result<Box<dyn Platform>, Exit> {
    let found = tokio::select! {
        found = timeout(limit, spawn_blocking(find)) => found,
        () = shutdown.cancelled() => return Err(Exit::Clean),
    };
    let found = found.map_err(|_| SearchError::Stuck(limit)).and_then(|searched| Ok(searched??));
    found.map_err(ends(Exit::NoTee))
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
enum SearchError {
    /// There is none that can be used.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The kernel did not come back.
    #[error(
        "the guest driver did not answer within {0:?}: stop whatever else asks it for reports; where nothing does, look \
         into the kernel log"
    )]
    Stuck(Duration),
    /// The search was stopped.
    #[error("the search for the device was given up")]
    Stopped(#[from] JoinError),
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_operator_finds_the_line_in_the_manual() {
        let line = SearchError::Stuck(Duration::from_mins(1)).to_string();
        assert!(include_str!("../../docs/errors.md").contains(&format!("| `{line}` |")), "{line}");
    }

    #[tokio::test]
    async fn a_driver_that_hangs_is_given_up() {
        let (go, hold) = channel::<()>();
        let find = move || {
            hold.recv().unwrap_err();
            Err(PlatformError::Malformed(String::new()))
        };
        let found = find_device(find, Duration::from_millis(20), &CancellationToken::new()).await;
        assert_eq!(found.unwrap_err(), Exit::NoTee);
        drop(go);
    }

    #[tokio::test]
    async fn a_driver_that_hangs_does_not_hold_up_a_stop() {
        let (go, hold) = channel::<()>();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let find = move || {
            stop.cancel();
            hold.recv().unwrap_err();
            Err(PlatformError::Malformed(String::new()))
        };
        let found = find_device(find, Duration::from_hours(1), &shutdown).await;
        assert_eq!(found.unwrap_err(), Exit::Clean);
        drop(go);
    }

    #[tokio::test]
    async fn a_machine_without_device_ends_with_the_exit_code_of_that() {
        let find = || Err(PlatformError::Absent { place: "/dev/sev-guest".to_owned() });
        let found = find_device(find, Duration::from_hours(1), &CancellationToken::new()).await;
        assert_eq!(found.unwrap_err(), Exit::NoTee);
    }
}
