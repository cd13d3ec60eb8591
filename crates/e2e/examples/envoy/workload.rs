//! A gRPC service of somebody else's, which knows nothing of Cube: `grpc.health.v1`, as tonic has it. It says NOT_SERVING to a
//! request with a header that only Cube may set.

use std::net::SocketAddr;

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus::{NotServing, Serving},
    health_server::{Health, HealthServer},
};

struct Workload;

#[tonic::async_trait]
impl Health for Workload {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let reserved =
            request.metadata().clone().into_headers().keys().any(|name| name.as_str().starts_with("cube-"));
        let status = if reserved { NotServing } else { Serving };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// One answer, and another when the stream has been silent for as long as the driver wants.
    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let serving = || Ok(HealthCheckResponse { status: Serving.into() });
        let later = async move {
            tokio::time::sleep(crate::LONG).await;
            serving()
        };
        Ok(Response::new(stream::iter([serving()]).chain(stream::once(later)).boxed()))
    }
}

/// Where it listens.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = tonic::service::Routes::new(HealthServer::new(Workload)).into_axum_router();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            let serving =
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    address
}
