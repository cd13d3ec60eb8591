//! Whether the gateway could answer: its lease, and a backend that lists its models when asked.

use std::time::Duration;

use service_runtime::{CancellationToken, Condition};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::server::Gateway;

/// Between two questions to a backend that answers.
const EVERY: Duration = Duration::from_secs(15);
/// Between two questions to one that does not: a model server that has come up is soon made use of.
const RETRY: Duration = Duration::from_secs(1);
/// For its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks the backend for its models, again and again, until the gateway begins to stop.
pub(crate) async fn probe(gateway: Gateway, up: watch::Sender<bool>) {
    ask_again(&gateway.draining, || answers(&gateway), up).await;
}

async fn ask_again<F>(stop: &CancellationToken, ask: impl Fn() -> F, up: watch::Sender<bool>)
where
    F: Future<Output = bool>,
{
    loop {
        let answers = tokio::select! {
            () = stop.cancelled() => return,
            answers = ask() => answers,
        };
        if up.send_replace(answers) != answers {
            tracing::info!(answers, "the backend's state has changed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(if answers { EVERY } else { RETRY }) => {}
        }
    }
}

async fn answers(gateway: &Gateway) -> bool {
    let Ok(permit) = gateway.gate.permit() else { return false };
    match timeout(LIMIT, gateway.backend.models(&permit)).await {
        Ok(Ok(models)) => {
            gateway.metrics.learn(&models);
            true
        }
        Ok(Err(_)) | Err(_) => false,
    }
}

/// What `/readyz` asks for.
pub(crate) fn conditions(gateway: &Gateway, up: &watch::Receiver<bool>) -> Vec<Condition> {
    vec![
        Condition { name: "lease", holds: gateway.gate.is_open() },
        Condition { name: "backend", holds: *up.borrow() },
        Condition { name: "not-stopping", holds: !gateway.draining.is_cancelled() },
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_backend_is_asked_again_whatever_it_answered() {
        let (stop, answers, begun) = (CancellationToken::new(), AtomicBool::new(false), Instant::now());
        let (told, mut up) = watch::channel(false);
        let probing = ask_again(&stop, async || answers.load(Ordering::SeqCst), told);
        let story = async {
            answers.store(true, Ordering::SeqCst);
            up.wait_for(|up| *up).await.unwrap();
            assert!(begun.elapsed() <= RETRY);
            answers.store(false, Ordering::SeqCst);
            up.wait_for(|up| !up).await.unwrap();
            assert!(begun.elapsed() <= RETRY + EVERY);
            stop.cancel();
        };
        tokio::join!(probing, story);
    }
}
