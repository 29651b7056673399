//! What nobody waits for at once leaves at common ticks: reports, and acknowledgements of records of other datacenters.
//! A message costs several of each, so that a tick of a few milliseconds saves more processor time, packets and fsyncs
//! than it costs in freshness.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_runtime::Ticks;

/// A far write and the report of it wait for at most one each.
pub(crate) const TICK: Duration = Duration::from_millis(8);

#[derive(Debug)]
pub(crate) struct Pace {
    ticks: Ticks,
    next: Option<Instant>,
    open: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { ticks: Ticks::every(TICK), next: None, open: false }
    }

    /// Something waits for the next tick.
    pub(super) fn want(&mut self) {
        if self.next.is_none() {
            self.next = Some(self.ticks.after(Instant::now()));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn look(&mut self, now: Instant) {
        self.open = self.next.is_some_and(|next| next <= now);
        if self.open {
            self.next = None;
        }
    }

    /// Whether this is a tick.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }
}
