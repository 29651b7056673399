//! One HTTP/2 connection to a peer, as tonic's client wants it.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;
use tonic::body::Body;
use tonic::client::GrpcService;
use trunkline_ports::Process;
use trunkline_types::limits::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW_BYTES,
    STREAMS_PER_CONNECTION_MAX,
};
use trunkline_wire::status::{self, reason};

use crate::executor::ProcessExecutor;

/// Larger frames than HTTP/2's 16 KiB, since most of what moves between stores is larger.
pub(crate) const FRAME_SIZE: u32 = 64 * 1024;

/// A cheap handle; the connection ends when the peer goes, or the last handle does.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    requests: SendRequest<Body>,
    address: Arc<str>,
}

pub(crate) fn unreachable(address: &str, why: impl std::fmt::Display) -> Status {
    status::unavailable(reason::UNREACHABLE, format!("{address} cannot be reached: {why}"))
}

impl Connection {
    /// Speaks HTTP/2 over `io`; the connection's tasks belong to `process`.
    pub(crate) async fn over<I>(io: I, address: Arc<str>, process: &Process) -> Result<Self, Status>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = Builder::new(ProcessExecutor(process.clone()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_SIZE)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_concurrent_reset_streams(STREAMS_PER_CONNECTION_MAX as usize);
        let (requests, connection) =
            builder.handshake(TokioIo::new(io)).await.map_err(|error| unreachable(&address, error))?;
        let to = address.clone();
        process.spawn("connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%to, %error, "connection lost");
            }
        });
        Ok(Self { requests, address })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

impl GrpcService<Body> for Connection {
    type ResponseBody = Body;
    type Error = Status;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let response = self.requests.try_send_request(request);
        let address = self.address.clone();
        Box::pin(async move {
            let response = response.await.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                let why = unreachable(&address, error.into_error());
                // The connection has ended under the request: a peer that drains, or is gone.
                if unsent { status::not_stored(&why) } else { why }
            })?;
            Ok(response.map(|body| named(body, address)))
        })
    }
}

/// A body whose errors say whose connection it was.
fn named(body: Incoming, address: Arc<str>) -> Body {
    Body::new(body.map_err(move |error| unreachable(&address, error)))
}
