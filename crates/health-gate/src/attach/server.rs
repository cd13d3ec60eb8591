//! The answering side.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures_util::{Stream, StreamExt, stream};
use http::Extensions;
use mtls::{Role, peer_of, spki_of};
use proto::{
    backend::v1::{AttachRequest, AttachResponse},
    reason,
};
use service_runtime::{Connection, Scope};
use tonic::{Code, Status};

use super::{AttachedPermit, Attachment, not_attached};
use crate::{holder::Holder, trust::Peer};

/// For the first token of an `Attach`.
const FIRST_TOKEN: Duration = Duration::from_secs(10);

/// Makes the attachment of each new connection.
#[derive(Clone, Debug)]
pub struct Attachments {
    holder: Holder,
    allowed: Role,
}

impl Attachments {
    /// Peers with an SVID of role `allowed` may attach.
    pub fn new(holder: &Holder, allowed: Role) -> Self {
        Self { holder: holder.clone(), allowed }
    }

    /// The attachment of a new connection: void until `Attach` is served on it.
    pub fn connection(&self, connection: &Connection) -> PeerAttachment {
        let peer = peer(connection, self.allowed);
        PeerAttachment {
            inner: Arc::new(Inner { holder: self.holder.clone(), peer, permit: ArcSwapOption::empty() }),
        }
    }

    /// Puts a [`PeerAttachment`] into the extensions of every request, for the accept loop.
    pub fn scope(self) -> Scope {
        Arc::new(move |connection| {
            let mut extensions = Extensions::new();
            extensions.insert(self.connection(connection));
            extensions
        })
    }
}

fn peer(connection: &Connection, allowed: Role) -> Result<Peer, Status> {
    let refuse = |why: String| proto::status(Code::PermissionDenied, reason::PEER_NOT_ALLOWED, why);
    let identity = peer_of(connection).map_err(|error| refuse(error.to_string()))?;
    if identity.role() != allowed {
        return Err(refuse(format!("{} may not attach here, only {allowed} may", identity.role())));
    }
    let leaf = connection.tls.as_ref().and_then(|tls| tls.peer_leaf.as_ref());
    let spki = leaf.and_then(|leaf| spki_of(leaf).ok()).ok_or_else(|| refuse("no peer key".into()))?;
    Ok(Peer { identity, spki })
}

/// Who is at the other end of one connection, and whether it is attached. A cheap handle.
#[derive(Clone)]
pub struct PeerAttachment {
    inner: Arc<Inner>,
}

struct Inner {
    holder: Holder,
    peer: Result<Peer, Status>,
    permit: ArcSwapOption<AttachedPermit>,
}

impl PeerAttachment {
    /// Leave to serve a request of this connection.
    pub fn permit(&self) -> Result<AttachedPermit, Status> {
        self.inner.peer.as_ref().map_err(Clone::clone)?;
        let permit = self.inner.permit.load();
        let permit = permit.as_deref().ok_or_else(not_attached)?;
        // Attached under a lease that has lapsed since is not attached, even where there is a new lease.
        permit.check().map(|()| permit.clone()).map_err(|_| not_attached())
    }
}

impl fmt::Debug for PeerAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerAttachment").field("peer", &self.inner.peer).finish_non_exhaustive()
    }
}

/// Leave to serve the request that carries `extensions`: `PEER_NOT_ATTACHED` before `Attach`.
pub fn require(extensions: &Extensions) -> Result<AttachedPermit, Status> {
    extensions.get::<PeerAttachment>().ok_or_else(not_attached)?.permit()
}

/// Serves `Attach`: judges each token that comes and answers with this side's own. The connection is
/// attached from the first token on, until this stream is dropped or a token is not renewed in time.
pub fn serve_attach<S>(
    attachment: &PeerAttachment,
    tokens: S,
) -> impl Stream<Item = Result<AttachResponse, Status>> + Send + use<S>
where
    S: Stream<Item = Result<AttachRequest, Status>> + Send + Unpin,
{
    let serving = Serving { connection: attachment.clone(), tokens, attachment: None };
    stream::unfold(Some(serving), |serving| async {
        let mut serving = serving?;
        let answer = serving.next().await?;
        let next = answer.is_ok().then_some(serving);
        Some((answer, next))
    })
}

struct Serving<S> {
    connection: PeerAttachment,
    tokens: S,
    attachment: Option<Attachment>,
}

impl<S: Stream<Item = Result<AttachRequest, Status>> + Send + Unpin> Serving<S> {
    async fn next(&mut self) -> Option<Result<AttachResponse, Status>> {
        tokio::select! {
            request = self.tokens.next() => Some(self.take(&request?.ok()?.health_token)),
            status = over(self.attachment.as_ref()) => Some(Err(status)),
        }
    }

    fn take(&mut self, token: &str) -> Result<AttachResponse, Status> {
        let Inner { holder, peer, permit } = &*self.connection.inner;
        let peer = peer.as_ref().map_err(Clone::clone)?;
        if let Some(attachment) = &mut self.attachment {
            attachment.renew(holder, peer, token)?;
        } else {
            let attachment = self.attachment.insert(Attachment::new(holder, peer, token)?);
            permit.store(Some(Arc::new(attachment.permit.clone())));
        }
        Ok(AttachResponse { health_token: holder.tokens().current().to_string() })
    }
}

async fn over(attachment: Option<&Attachment>) -> Status {
    let Some(attachment) = attachment else {
        tokio::time::sleep(FIRST_TOKEN).await;
        return not_attached();
    };
    attachment.over().await
}
