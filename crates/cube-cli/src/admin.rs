//! `cube admin`: orders to attestation-svc, over its own socket on this machine.

use std::{future::Future, path::Path, time::Duration};

use http::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::attestation::v1::{
    AllIdentities, GetStateRequest, ReinstateRequest, RevokeRequest, RotateRequest,
    admin_service_client::AdminServiceClient, revoke_request::Target,
};
use tokio::{net::UnixStream, time::timeout};
use tonic::{Response, Status, body::Body, client::GrpcService};

use crate::{
    args::admin::{AdminArgs, Order, RevokeArgs},
    failure::Failure,
    table,
};

mod show;

/// For an answer; attestation-svc gives it at once or not at all.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: AdminArgs) -> Result<u8, Failure> {
    let channel = within(&args.socket, connect(&args.socket)).await??;
    let mut client = AdminServiceClient::with_origin(channel, Uri::from_static("http://attestation-svc"));
    let shown = match args.order {
        Order::State => {
            let answer = answer(&args.socket, client.get_state(GetStateRequest {})).await?;
            if args.json { show::json(&answer) } else { show::table(&answer) }
        }
        Order::Revoke(RevokeArgs { role, why, .. }) => {
            let target = role.clone().map_or(Target::All(AllIdentities {}), Target::Role);
            let request = RevokeRequest { target: Some(target), reason: why.reason };
            let epochs = answer(&args.socket, client.revoke(request)).await?;
            show::revoked(role.as_deref(), &epochs, args.json)
        }
        Order::Reinstate(order) => {
            let request = ReinstateRequest { role: order.role.clone(), reason: order.why.reason };
            answer(&args.socket, client.reinstate(request)).await?;
            show::reinstated(&order.role, args.json)
        }
        Order::Rotate(order) => {
            let request = RotateRequest { target: order.target.into(), reason: order.why.reason };
            let rotated = answer(&args.socket, client.rotate(request)).await?;
            show::rotated(&rotated.roles, args.json)
        }
    };
    show::print(&shown)?;
    Ok(0)
}

async fn answer<T>(
    socket: &Path,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    let answered = within(socket, call).await?;
    answered.map(Response::into_inner).map_err(|status| {
        let (reason, why) = (proto::reason_or_code(&status), table::printable(status.message()));
        Failure::Answer(format!("attestation-svc answered {reason}: {why}"))
    })
}

async fn within<T>(socket: &Path, step: impl Future<Output = T>) -> Result<T, Failure> {
    let late = |_| Failure::Answer(format!("no answer on {} within {LIMIT:?}", socket.display()));
    timeout(LIMIT, step).await.map_err(late)
}

/// The kernel vouches for both ends of a unix socket, so there is no TLS on it.
async fn connect(
    socket: &Path,
) -> Result<impl GrpcService<Body, ResponseBody = hyper::body::Incoming, Error = hyper::Error> + Clone, Failure>
{
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let hint = "is attestation-svc running, and are you root or its user?";
        Failure::Answer(format!("cannot connect to {}: {error}; {hint}", socket.display()))
    })?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake
        .await
        .map_err(|error| Failure::Answer(format!("{} does not speak HTTP/2: {error}", socket.display())))?;
    // The calls tell of its errors, and it ends with the program.
    tokio::spawn(async move { drop(connection.await) });
    Ok(tower::service_fn(move |request: Request<Body>| sender.clone().send_request(request)))
}
