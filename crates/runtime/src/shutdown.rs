//! Drain first, then stop.

use tokio_util::sync::CancellationToken;

/// Told to every task of a node. *Draining*: refuse new work, finish what is under way, hand over what can be handed
/// over. *Stopped*: end now.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Implies draining.
    pub fn stop(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Ends when draining begins.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Ends when everything is to end.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }
}
