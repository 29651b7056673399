//! Which endpoint to ask first: pure, from what was measured.

use std::time::Duration;

use tokio::time::Instant;

/// Round trips that differ by less are alike.
const ALIKE: Duration = Duration::from_millis(5);
/// An endpoint that failed comes last for so long, unless a ping succeeds before.
const SUSPECT_FOR: Duration = Duration::from_secs(5);

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Measured {
    round_trip: Option<Duration>,
    failed_at: Option<Instant>,
}

/// All endpoints, by their place in the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Nearness(Vec<Measured>);

impl Nearness {
    pub(crate) fn new(endpoints: usize) -> Self {
        Self(vec![Measured::default(); endpoints])
    }

    /// A ping was answered.
    pub(crate) fn answered(&mut self, endpoint: usize, took: Duration) {
        let measured = &mut self.0[endpoint];
        measured.failed_at = None;
        measured.round_trip = Some(match measured.round_trip {
            Some(before) => (before * 3 + took) / 4,
            None => took,
        });
    }

    /// A call went well; how long it took says nothing about the way.
    pub(crate) fn served(&mut self, endpoint: usize) {
        self.0[endpoint].failed_at = None;
    }

    pub(crate) fn failed(&mut self, endpoint: usize, now: Instant) {
        self.0[endpoint].failed_at = Some(now);
    }

    /// Best first: those that work by round trip, then those that were not measured, then those that failed, the
    /// longest ago first.
    pub(crate) fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|&endpoint| {
            let measured = &self.0[endpoint];
            let failed = measured.failed_at.filter(|&at| now.saturating_duration_since(at) < SUSPECT_FOR);
            let steps = measured.round_trip.map_or(u128::MAX, |trip| trip.as_micros() / ALIKE.as_micros());
            (failed, steps)
        });
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_nearest_comes_first_and_alike_ones_as_configured() {
        let now = Instant::now();
        let mut nearness = Nearness::new(4);
        assert_eq!(nearness.order(now), [0, 1, 2, 3]);
        nearness.answered(1, ms(3));
        nearness.answered(0, ms(4));
        nearness.answered(2, ms(70));
        assert_eq!(nearness.order(now), [0, 1, 2, 3], "3 ms and 4 ms are alike");
        nearness.answered(2, ms(1));
        nearness.answered(2, ms(1));
        for _ in 0..20 {
            nearness.answered(0, ms(70));
        }
        assert_eq!(nearness.order(now)[0], 1);
    }

    #[test]
    fn one_that_failed_comes_last_until_it_answers_or_time_has_passed() {
        let now = Instant::now();
        let mut nearness = Nearness::new(3);
        nearness.failed(0, now);
        nearness.failed(1, now + ms(1));
        assert_eq!(nearness.order(now + ms(2)), [2, 0, 1]);
        nearness.answered(1, ms(1));
        assert_eq!(nearness.order(now + ms(2)), [1, 2, 0]);
        assert_eq!(nearness.order(now + SUSPECT_FOR), [1, 0, 2]);
        nearness.served(0);
        assert_eq!(nearness.order(now + ms(2)), [1, 0, 2]);
    }
}
