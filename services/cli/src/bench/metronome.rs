//! The intended times of an open loop, kept to by a thread: tokio's timer goes by whole milliseconds, and being late by
//! one would count as a third of what a push takes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

/// Beats that may wait for a sender that is late: it catches up, and its lateness counts.
const BEATS_MAX: usize = 1_024;

/// Gives the offsets `at(0)`, `at(1)`, … from `begun`, each at its time, until `until`.
pub(super) fn start(
    begun: Instant,
    until: Instant,
    at: impl Fn(u64) -> Duration + Send + 'static,
) -> mpsc::Receiver<Duration> {
    let (beats, heard) = mpsc::channel(BEATS_MAX);
    #[allow(clippy::disallowed_methods, reason = "a thread of its own, so that the load does not delay it")]
    std::thread::spawn(move || {
        for at in (0..).map(at) {
            if begun + at >= until {
                return;
            }
            std::thread::sleep((begun + at).saturating_duration_since(Instant::now()));
            if beats.blocking_send(at).is_err() {
                return;
            }
        }
    });
    heard
}
