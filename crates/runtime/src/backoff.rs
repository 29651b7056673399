//! Delays between attempts: exponential, with full jitter (Brooker, "Exponential Backoff and Jitter", 2015), bounded.

use std::time::Duration;

use trunkline_ports::Process;

/// Grows from `first` to `max`; [`Backoff::reset`] after a success.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, attempts: 0 }
    }

    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next delay: between half of and the whole exponential step.
    pub fn next(&mut self, process: &Process) -> Duration {
        let step = self.first.saturating_mul(1 << self.attempts.min(16)).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        let half = step / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(process.random() % nanos)
    }

    /// Waits for the next delay.
    pub async fn wait(&mut self, process: &Process) {
        tokio::time::sleep(self.next(process)).await;
    }
}
