//! One connection of a caller, from its first byte to its last.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;
use trunkline_types::limits::{
    CLIENT_STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, LISTENER_KEEPALIVE_INTERVAL,
    LISTENER_KEEPALIVE_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_PER_CONNECTION_MAX,
};

use crate::connection::FRAME_SIZE;
use crate::executor::ProcessExecutor;
use crate::listener::door::Entrance;
use crate::listener::opening::{Opening, PREFACE_BYTES};
use crate::socket::Socket;

pub(super) async fn serve(
    socket: Box<dyn Socket>,
    entrance: Arc<Entrance>,
    mut draining: watch::Receiver<bool>,
) {
    let mut builder = auto::Builder::new(ProcessExecutor(entrance.process().clone()));
    if !entrance.speaks_http1() {
        builder = builder.http2_only();
    }
    // Over HTTP/1 a request's head has a timeout of its own.
    builder.http1().timer(TokioTimer::new());
    let awaited = if entrance.speaks_http1() { 1 } else { PREFACE_BYTES };
    let socket = Opening::new(socket, awaited);
    // Callers take calls back by the hundred when they stop or their deadlines pass: no attack.
    let resets = STREAMS_PER_CONNECTION_MAX as usize;
    // What a client sends ahead of a server that waits is held here, by every stream.
    let window = if entrance.is_for_clients() { CLIENT_STREAM_WINDOW_BYTES } else { STREAM_WINDOW_BYTES };
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_SIZE)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(resets)
        .keep_alive_interval(LISTENER_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(LISTENER_KEEPALIVE_TIMEOUT);
    let answer = service_fn(move |request: http::Request<Incoming>| {
        let entrance = entrance.clone();
        async move { Ok::<_, Infallible>(entrance.answer(request).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), answer));
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        () = told(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a caller's connection was lost");
    }
}

/// Resolves when draining begins, or the listener is gone.
async fn told(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}
