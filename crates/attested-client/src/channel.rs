//! The one value that can send.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, Uri, uri};
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;
use snp_evidence::{Policy, TrustRoots, UnixTime, VerifiedBundle};
use tonic::body::Body;
use tower::Service;

use crate::{Binding, Error, Limits, ServerTrust, Target, Unattested, fresh_nonce, tls};

/// A connection that evidence has proven to end where the policy says.
///
/// A tower service for hyper requests and for generated tonic clients. Clones
/// share the one connection; nothing reconnects.
#[derive(Clone)]
pub struct AttestedChannel {
    connection: Unattested,
    verified: Arc<VerifiedBundle>,
}

/// A call on an attested channel failed to be sent or answered.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The verified connection ended. Dial and appraise anew; there is no silent reconnect.
    #[error("the verified connection ended")]
    Closed(#[source] hyper::Error),
    /// The request's path cannot be sent.
    #[error("the request has no usable path")]
    Path(#[source] http::Error),
}

impl AttestedChannel {
    /// All steps at once: dial, ask with a fresh nonce and binding `tls-exporter`, appraise as of `now`.
    pub async fn connect(
        target: &Target,
        trust: &ServerTrust,
        limits: Limits,
        roots: &TrustRoots,
        policy: &Policy,
        now: UnixTime,
    ) -> Result<Self, Error> {
        let connection = Unattested::dial(target, trust, limits).await?;
        let offer = connection.ask(fresh_nonce()?, Binding::TlsExporter).await?;
        Ok(offer.appraise(roots, policy, now)?)
    }

    pub(crate) fn new(connection: Unattested, verified: VerifiedBundle) -> Self {
        Self { connection, verified: Arc::new(verified) }
    }

    /// The evidence that made this channel.
    pub fn verified(&self) -> &VerifiedBundle {
        &self.verified
    }

    /// The CVM's own CA: the first of [`Self::ca_certificates`].
    pub fn ca_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.ca_certificates().next()
    }

    /// The certificates shown on this connection whose keys the verified manifest lists as CAs: one, or two while the CA is
    /// being replaced.
    pub fn ca_certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.connection.chain.iter().filter(|certificate| {
            let listed = |spki| self.verified.manifest().ca_keys().any(|key| key.sha256.0 == spki);
            tls::spki_sha256(certificate).is_ok_and(listed)
        })
    }

    /// Asks for a report on this very connection, and judges it as the first one was judged.
    pub async fn verify_again(
        &self,
        roots: &TrustRoots,
        policy: &Policy,
        now: UnixTime,
    ) -> Result<(), Error> {
        let offer = self.connection.clone().ask(fresh_nonce()?, Binding::TlsExporter).await?;
        Ok(offer.appraise(roots, policy, now).map(drop)?)
    }

    /// Whether it takes no more requests: it has ended, or was told to go.
    pub fn is_closed(&self) -> bool {
        self.connection.sender.is_closed()
    }

    /// Resolves when the connection has ended, with everything on it.
    pub async fn closed(&self) {
        self.connection.ended.cancelled().await;
    }

    /// Ends the connection at once, with every request that is open on it.
    pub fn cut(&self) {
        self.connection.cut.cancel();
    }

    /// Requests go to this connection's authority whatever they name.
    fn address(&self, uri: &Uri) -> Result<Uri, http::Error> {
        let path = uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
        Uri::builder()
            .scheme(uri::Scheme::HTTPS)
            .authority(self.connection.target.authority().clone())
            .path_and_query(path)
            .build()
    }
}

impl Service<Request<Body>> for AttestedChannel {
    type Response = Response<Incoming>;
    type Error = ChannelError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ChannelError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        self.connection.sender.poll_ready(cx).map_err(ChannelError::Closed)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let addressed = self.address(request.uri()).map_err(ChannelError::Path);
        let mut sender = self.connection.sender.clone();
        Box::pin(async move {
            *request.uri_mut() = addressed?;
            sender.send_request(request).await.map_err(ChannelError::Closed)
        })
    }
}

impl std::fmt::Debug for AttestedChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttestedChannel").field("target", &self.connection.target).finish_non_exhaustive()
    }
}
