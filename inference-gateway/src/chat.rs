//! One answer: asked for, watched, and either relayed or gathered.
//!
//! Whoever drops the future or the [`Answer`] drops the stream from the adapter with
//! it, in every phase; nothing here is spawned.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::StreamExt;
use health_gate::ServingPermit;
use proto::{
    inference::v1::{ChatEvent, ChatResponse, chat_event::Event},
    reason,
};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use crate::{
    request_id::RequestId,
    upstream::{Backend, Call, EventStream},
};

mod gather;
mod metrics;
mod names;
mod order;

pub use self::metrics::ChatMetrics;
use self::{gather::Gather, order::Order};
pub(crate) use self::{metrics::Meter, order::broken};

/// Bounds on requests and answers.
#[derive(Debug, Clone)]
pub struct AnswerLimits {
    /// Until the first event that carries output.
    pub first_token: Duration,
    /// Between two events after it.
    pub stream_idle: Duration,
    /// For a gathered answer as a whole.
    pub unary: Duration,
    /// For one report or key manifest: the hardware makes reports one after the other, and slowly.
    pub evidence: Duration,
    /// Largest request, and largest gathered answer, in bytes.
    pub body: usize,
    /// Sum of all requests that wait for the head of their answer, in bytes.
    pub bodies: usize,
    /// Largest event, in bytes.
    pub frame: usize,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            first_token: Duration::from_mins(5),
            stream_idle: Duration::from_mins(1),
            unary: Duration::from_mins(10),
            evidence: Duration::from_secs(30),
            body: 32 << 20,
            bodies: 512 << 20,
            frame: 1 << 20,
        }
    }
}

/// Asks the backend.
#[derive(Clone)]
pub(crate) struct Chat {
    backend: Arc<dyn Backend>,
    limits: AnswerLimits,
    metrics: ChatMetrics,
}

impl Chat {
    pub(crate) fn new(backend: Arc<dyn Backend>, limits: AnswerLimits, metrics: ChatMetrics) -> Self {
        Self { backend, limits, metrics }
    }

    /// The answer as events. Resolves with the first one, so that a refusal by the
    /// backend is still the answer's status and not a broken stream.
    pub(crate) async fn stream(&self, permit: &ServingPermit, call: Call) -> Result<Answer, Status> {
        let deadline = callers(call.deadline);
        self.ask(permit, call, deadline).await
    }

    async fn ask(&self, permit: &ServingPermit, call: Call, end: Option<Bound>) -> Result<Answer, Status> {
        let first_by = Instant::now() + self.limits.first_token;
        let mut meter = self.metrics.begin("chat", &call.caller, call.spec.sampling());
        let (request_id, order) = (call.request_id.clone(), Order::of(call.spec.choices()));
        let (until, phase) = earlier((first_by, "first_token"), end);
        let asked = timeout_at(until, self.backend.generate(permit, call)).await;
        let events = asked.unwrap_or_else(|_| Err(timed_out(phase)));
        let events = events.inspect_err(|status| meter.failed(status))?;
        let stream_idle = self.limits.stream_idle;
        let mut answer = Answer { events, order, meter, request_id, first_by, stream_idle, end, first: None };
        answer.first = answer.next().await?;
        Ok(answer)
    }

    /// The answer as a whole.
    pub(crate) async fn whole(&self, permit: &ServingPermit, call: Call) -> Result<ChatResponse, Status> {
        let end = earlier((Instant::now() + self.limits.unary, "unary"), callers(call.deadline));
        let mut gather = Gather::new(call.spec.choices(), self.limits.body);
        let mut answer = self.ask(permit, call, Some(end)).await?;
        while let Some(event) = answer.next().await? {
            gather.add(event).inspect_err(|status| answer.meter.failed(status))?;
        }
        Ok(gather.finish())
    }

    /// The backend's models.
    pub(crate) async fn models(
        &self,
        permit: &ServingPermit,
        deadline: Option<Instant>,
    ) -> Result<Vec<proto::inference::v1::Model>, Status> {
        let (until, phase) = earlier((Instant::now() + self.limits.unary, "models"), callers(deadline));
        let models = timeout_at(until, self.backend.models(permit)).await.map_err(|_| timed_out(phase))??;
        self.metrics.learn(&models);
        Ok(models)
    }
}

/// The events of one answer: in order, in time, and with an end that is said.
pub(crate) struct Answer {
    events: EventStream,
    order: Order,
    meter: Meter,
    request_id: RequestId,
    first_by: Instant,
    stream_idle: Duration,
    end: Option<Bound>,
    first: Option<ChatEvent>,
}

impl Answer {
    /// The next event; `None` after a complete answer only. After an error there is no next.
    pub(crate) async fn next(&mut self) -> Result<Option<ChatEvent>, Status> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let (until, phase) = self.patience();
        let next = match timeout_at(until, self.events.next()).await {
            Err(_) => Err(timed_out(phase)),
            Ok(None) => self.order.end().map(|()| None),
            Ok(Some(event)) => event.and_then(|event| self.accept(event)).map(Some),
        };
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.meter.whole(),
            Err(status) => self.meter.failed(status),
        }
        next
    }

    fn accept(&mut self, mut event: ChatEvent) -> Result<ChatEvent, Status> {
        self.order.accept(&event)?;
        self.meter.event(&event);
        if let Some(Event::Started(started)) = &mut event.event {
            self.request_id.as_str().clone_into(&mut started.request_id);
        }
        Ok(event)
    }

    fn patience(&self) -> Bound {
        let own = if self.order.has_output() {
            (Instant::now() + self.stream_idle, "stream_idle")
        } else {
            (self.first_by, "first_token")
        };
        earlier(own, self.end)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// When a wait is over, and the phase that is over then.
pub(crate) type Bound = (Instant, &'static str);

pub(crate) fn callers(deadline: Option<Instant>) -> Option<Bound> {
    deadline.map(|deadline| (deadline, "deadline"))
}

pub(crate) fn earlier(own: Bound, other: Option<Bound>) -> Bound {
    other.filter(|other| other.0 < own.0).unwrap_or(own)
}

/// The backend took longer than `phase` may take.
pub(crate) fn timed_out(phase: &str) -> Status {
    let message = format!("the backend did not answer in time (phase {phase})");
    proto::status_with(Code::DeadlineExceeded, reason::BACKEND_TIMEOUT, message, &[("phase", phase)])
}
