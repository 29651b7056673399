//! SIGINT and SIGTERM.

use std::future::Future;

use futures::future::BoxFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use trunkline_ports::Process;

/// As of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Resolves at the first SIGINT, for a command that has something to finish. A second one ends the process at once,
/// even where the command is stuck in writing.
pub(crate) fn interrupted(process: &Process) -> BoxFuture<'static, ()> {
    let mut interrupt = listen(SignalKind::interrupt());
    let (told, first) = oneshot::channel();
    process.spawn("interrupt", async move {
        interrupt.recv().await;
        // The command may have ended meanwhile.
        let _ = told.send(());
        interrupt.recv().await;
        std::process::exit(INTERRUPTED);
    });
    Box::pin(async {
        let _ = first.await;
    })
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("signal handlers can be installed inside the runtime")
}

/// Listens from the moment it is made: a signal that comes before anyone waits is not lost.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Self {
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
            () = self.stop() => std::process::exit(INTERRUPTED),
        }
    }
}
