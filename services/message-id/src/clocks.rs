//! What the other voters' clocks show. A leaf: sections are short and no one waits inside.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ordering::group::Clocks as Heard;
use trunkline_types::NodeId;
use trunkline_types::limits::PEER_NUMBER_MAX;

#[derive(Debug)]
pub(crate) struct Clocks {
    /// Since when elapsed time is counted.
    began: Instant,
    heard: Mutex<Heard>,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), heard: Mutex::default() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A voter has said what its clock shows, unless it has none to show.
    pub(crate) fn hear(&self, voter: NodeId, clock_ms: u64) {
        if (1..=PEER_NUMBER_MAX).contains(&clock_ms) {
            self.heard().hear(voter, clock_ms, self.elapsed());
        }
    }

    /// All of them now, this voter's own among them.
    pub(crate) fn now(&self, own_ms: u64) -> Vec<u64> {
        let mut clocks = self.heard().now(self.elapsed());
        clocks.push(own_ms);
        clocks
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
