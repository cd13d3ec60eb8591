//! The gate of a connection between gateway and adapter: each side holds the other's live health
//! token, exchanged and renewed on that very connection (docs/spec/lease.md, "Attach").
//!
//! Per call and per chunk nobody looks at a token: [`AttachedPermit::check`] reads two deadlines.

mod client;
mod server;

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

pub use client::AttachedChannel;
use futures_util::Stream;
use health_token::TokenError;
use mtls::SpiffeId;
use proto::reason;
pub use server::{Attachments, PeerAttachment, require, serve_attach};
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::{
    body::{Leave, Over},
    gate::{Lapsed, ServingPermit},
    holder::Holder,
    term::Term,
    trust::{Peer, Trust},
};

/// Both sides of one connection hold the other's live token, under one lease of this side's own.
#[derive(Clone, Debug)]
pub struct AttachedPermit {
    peer: Arc<Term>,
    own: ServingPermit,
}

impl AttachedPermit {
    /// Whether the peer's token and the own lease live; no lock, and no allocation unless it refuses.
    pub fn check(&self) -> Result<(), Status> {
        self.own.check()?;
        if self.peer.is_live() { Ok(()) } else { Err(not_attached()) }
    }

    /// Resolves when either is over.
    pub async fn lapsed(&self) {
        self.over().await;
    }

    /// Ends `stream` with the refusal as soon as this permit is over, idle or not; the stream is
    /// dropped then.
    pub fn guard<S>(self, stream: S) -> Guarded<S> {
        Guarded { over: self.over(), permit: self, stream: Some(stream) }
    }
}

impl Leave for AttachedPermit {
    fn check(&self) -> Result<(), Status> {
        Self::check(self)
    }

    fn over(&self) -> Over {
        let (peer, own) = (self.peer.over(), self.own.lapse());
        Box::pin(async {
            tokio::select! {
                () = peer => {}
                () = own => {}
            }
        })
    }
}

/// A stream that ends with its permit. See [`AttachedPermit::guard`].
pub struct Guarded<S> {
    stream: Option<S>,
    permit: AttachedPermit,
    over: Over,
}

impl<S, T> Stream for Guarded<S>
where
    S: Stream<Item = Result<T, Status>> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        let mut end = this.permit.check().err();
        if end.is_none() {
            if let Poll::Ready(item) = Pin::new(stream).poll_next(cx) {
                return Poll::Ready(item);
            }
            ready!(this.over.as_mut().poll(cx));
            end = this.permit.check().err();
        }
        this.stream = None;
        Poll::Ready(Some(Err(end.unwrap_or_else(|| Lapsed.into()))))
    }
}

impl<S> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("permit", &self.permit).finish_non_exhaustive()
    }
}

/// What one side holds of the other while their `Attach` lives; dropped, it is void for ever.
#[derive(Debug)]
struct Attachment {
    permit: AttachedPermit,
    /// Of the newest token.
    epoch: Arc<AtomicU64>,
}

impl Attachment {
    fn new(holder: &Holder, peer: &Peer, token: &str) -> Result<Self, Status> {
        let own = holder.gate().permit()?;
        let (epoch, deadline) = judge(holder, peer, token)?;
        let term = Term::until(deadline, Arc::clone(holder.clock()));
        let epoch = Arc::new(AtomicU64::new(epoch));
        let identity = peer.identity.clone();
        holder.tracker().spawn(watch_over(Arc::clone(&term), identity, Arc::clone(&epoch), holder.trust()));
        Ok(Self { permit: AttachedPermit { peer: term, own }, epoch })
    }

    fn renew(&mut self, holder: &Holder, peer: &Peer, token: &str) -> Result<(), Status> {
        let (epoch, deadline) = judge(holder, peer, token)?;
        self.epoch.store(epoch, Ordering::Release);
        if self.permit.peer.set_deadline(deadline) { Ok(()) } else { Err(not_attached()) }
    }

    /// Resolves when the attachment is void: the peer's token has ended or was revoked, the own lease
    /// is over, or there is a new trust epoch.
    async fn over(&self) -> Status {
        self.permit.lapsed().await;
        self.permit.check().err().unwrap_or_else(not_attached)
    }
}

/// Ends `term` with the peer's token, or as soon as that is revoked. A task of its own: a peer that
/// leaves its answers unread keeps everything else of its `Attach` from being polled.
async fn watch_over(
    term: Arc<Term>,
    peer: SpiffeId,
    epoch: Arc<AtomicU64>,
    mut trust: watch::Receiver<Arc<Trust>>,
) {
    tokio::select! {
        () = term.watch() => {}
        _ = trust.wait_for(|trust| trust.least.of(&peer) > epoch.load(Ordering::Acquire)) => term.end(),
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.permit.peer.end();
    }
}

/// The token's epoch, and its end on the boot clock, counted from when a token as new first came.
fn judge(holder: &Holder, peer: &Peer, token: &str) -> Result<(u64, std::time::Duration), Status> {
    let (now, unix) = (holder.clock().boot(), holder.clock().unix());
    // Judged outside the lock: a signature takes long, and a revocation must not wait for it.
    let trust = Arc::clone(&holder.trust().borrow());
    let token = trust.peer_token(token, peer, unix).map_err(token_refused)?;
    let end = holder.shown().end(&peer.spki, token.claims().iat, now + token.remaining(unix));
    if end <= now {
        return Err(token_refused(TokenError::Expired));
    }
    Ok((token.claims().hep, end))
}

fn token_refused(error: TokenError) -> Status {
    let metadata = [("check", error.reason())];
    proto::status_with(Code::Unavailable, reason::PEER_TOKEN_REFUSED, error.to_string(), &metadata)
}

fn not_attached() -> Status {
    let message = "gateway and adapter have not exchanged live health tokens on this connection; retry";
    proto::status(Code::Unavailable, reason::PEER_NOT_ATTACHED, message)
}
