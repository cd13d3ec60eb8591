//! What the service manager is told, sd_notify(3). Without one there is nobody to tell.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;
use tracing::warn;

/// The service serves; from now on its runtime shows every now and then that it turns, as often as the manager wants.
pub fn serving() {
    tell(NotifyState::Ready);
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(alive(within / 3));
    }
}

/// The service was asked to stop, and lets what is open end.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

/// Goes on to the end of the process: a drain is no hang.
async fn alive(every: Duration) {
    loop {
        tell(NotifyState::Watchdog);
        sleep(every).await;
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "the service manager cannot be told");
    }
}
