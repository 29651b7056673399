//! SIGINT and SIGTERM.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from the moment it is made: a signal that comes before anyone waits is not lost.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Self {
        let listen = |kind| signal(kind).expect("signal handlers can be installed inside the runtime");
        Self { interrupt: listen(SignalKind::interrupt()), terminate: listen(SignalKind::terminate()) }
    }

    /// Resolves at the next SIGINT or SIGTERM.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }

    /// Waits for an orderly end, unless a second signal asks for a quick one.
    pub(crate) async fn or_at_once(&mut self, end: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = end => (),
            () = self.stop() => std::process::exit(130),
        }
    }
}
