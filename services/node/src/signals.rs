//! SIGINT and SIGTERM.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("signal handlers can be installed inside the runtime")
}

/// Resolves at the next SIGINT or SIGTERM.
pub(crate) async fn stop() {
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    tokio::select! {
        biased;
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}

/// Waits for an orderly end, unless a second signal asks for a quick one.
pub(crate) async fn or_at_once(end: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = end => (),
        () = stop() => std::process::exit(130),
    }
}
