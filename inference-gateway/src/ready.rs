//! Whether the gateway could answer: its lease, and a backend that lists its models when asked.

use std::time::Duration;

use service_runtime::Condition;
use tokio::{
    sync::watch,
    time::{interval, timeout},
};

use crate::server::Gateway;

/// Between two questions to the backend.
const EVERY: Duration = Duration::from_secs(15);
/// For its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks the backend for its models, again and again, until the gateway begins to stop.
pub(crate) async fn probe(gateway: Gateway, up: watch::Sender<bool>) {
    let mut tick = interval(EVERY);
    loop {
        tokio::select! {
            () = gateway.draining.cancelled() => return,
            _ = tick.tick() => {}
        }
        let answers = answers(&gateway).await;
        if up.send_replace(answers) != answers {
            tracing::info!(answers, "the backend's state has changed");
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
