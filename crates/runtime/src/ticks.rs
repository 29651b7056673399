//! Common ticks: what several senders of one node have to say leaves together, and so shares packets and fsyncs.

use std::time::Duration;

use tokio::time::Instant;

/// Moments at a fixed distance from one another, the same for everyone who holds a copy.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    origin: Instant,
    interval: Duration,
}

impl Ticks {
    /// # Panics
    /// If `interval` is zero.
    pub fn every(interval: Duration) -> Self {
        assert!(!interval.is_zero(), "ticks have a distance");
        Self { origin: Instant::now(), interval }
    }

    /// The first tick after `now`.
    pub fn after(&self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        let into = since % self.interval.as_nanos();
        let left = self.interval.as_nanos() - into;
        now + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everyone_meets_at_the_same_tick() {
        let ticks = Ticks::every(Duration::from_millis(5));
        let origin = Instant::now();
        for (now, tick) in [(0, 5), (1, 5), (4, 5), (5, 10), (12, 15)] {
            let at = |ms| origin + Duration::from_millis(ms);
            assert_eq!(ticks.after(at(now)), at(tick), "after {now} ms");
        }
    }
}
