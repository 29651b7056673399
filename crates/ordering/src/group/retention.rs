//! How long a topic's messages are kept, and which of them are older than that by order time.
//!
//! A topic remembers, at some moments, which IDs it had given by then ([`Ages`]): what was given at or before a moment
//! is at least as old as that moment, whatever clocks show since. So nothing is ever taken for older than it is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Moments are as far apart, at least, as this fraction of the time that a topic keeps messages ...
const OF_THE_AGE: u64 = 64;
/// ... and where there are many, as this fraction of the time that has passed since. So what is kept too long is a
/// sixteenth of its age at most.
const OF_THE_PAST: u64 = 16;
/// Enough for all within a thousand times the age that a topic keeps messages for.
const MOMENTS_MAX: usize = 256;

/// What a topic keeps. Beyond `age_ms` or `bytes`, whichever comes first, messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Milliseconds of order time.
    pub age_ms: u64,
    /// Of records, newest first; 0: no limit.
    pub bytes: u64,
    /// What a subscription has not acknowledged stays to this age, although it is beyond the other two; 0: it does not.
    pub until_acknowledged_ms: u64,
}

impl Retention {
    /// What is older than this goes whoever has not acknowledged it.
    pub fn age_at_most_ms(&self) -> u64 {
        self.age_ms.max(self.until_acknowledged_ms)
    }
}

impl Default for Retention {
    /// For ever.
    fn default() -> Self {
        Self { age_ms: u64::MAX, bytes: 0, until_acknowledged_ms: 0 }
    }
}

/// (order time, ID): the IDs below were given at or before that time. Both ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ages {
    moments: VecDeque<(u64, u64)>,
}

impl Ages {
    /// The IDs below `id` were given at or before `at_ms`; the topic keeps messages for `kept_ms`.
    pub(super) fn note(&mut self, at_ms: u64, id: u64, kept_ms: u64) {
        let apart = kept_ms / OF_THE_AGE;
        let is_due = |(last, _): &(u64, u64)| at_ms >= last.saturating_add(apart) && at_ms > *last;
        if id <= 1 || !self.moments.back().is_none_or(is_due) {
            return;
        }
        self.moments.push_back((at_ms, id));
        if self.moments.len() > MOMENTS_MAX {
            self.thin_out(at_ms, apart);
        }
    }

    /// Of those long past fewer are remembered.
    fn thin_out(&mut self, now_ms: u64, apart: u64) {
        let before = std::mem::take(&mut self.moments);
        let mut kept: VecDeque<(u64, u64)> = VecDeque::with_capacity(MOMENTS_MAX);
        for (at, moment) in before.iter().enumerate().rev() {
            // One is left out where its neighbors are near enough to each other without it.
            let earlier = at.checked_sub(1).map(|at| before[at].0);
            let is_needed = match (earlier, kept.front()) {
                (Some(earlier), Some((later, _))) => {
                    later - earlier > apart.max((now_ms - earlier) / OF_THE_PAST)
                }
                _ => true,
            };
            if is_needed && kept.len() < MOMENTS_MAX {
                kept.push_front(*moment);
            }
        }
        self.moments = kept;
    }

    /// The IDs below it were all given at or before `at_ms`; 1 if none is known to be.
    pub(super) fn given_by(&self, at_ms: u64) -> u64 {
        let known = self.moments.partition_point(|(moment, _)| *moment <= at_ms);
        known.checked_sub(1).map_or(1, |last| self.moments[last].1)
    }

    /// The IDs below are there no more.
    pub(super) fn forget_below(&mut self, id: u64) {
        while self.moments.front().is_some_and(|(_, known)| *known <= id) {
            self.moments.pop_front();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.moments.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_given_by_a_moment_is_known_from_the_moment_before() {
        let mut ages = Ages::default();
        for (at, id) in [(0, 1), (1_000, 5), (1_001, 6), (1_100, 9), (2_000, 20)] {
            ages.note(at, id, 64 * 100);
        }
        for (by, below) in [(0, 1), (999, 1), (1_000, 5), (1_099, 5), (1_100, 9), (9_999, 20)] {
            assert_eq!(ages.given_by(by), below, "by {by}");
        }
        ages.forget_below(9);
        assert_eq!((ages.given_by(1_999), ages.given_by(2_000), ages.len()), (1, 20, 1));
    }

    #[test]
    fn what_is_kept_for_those_who_have_not_acknowledged_it_is_known_by_its_age_too() {
        let mut ages = Ages::default();
        let (age, day) = (60_000, 24 * 3_600_000);
        // One ID in each second, for three weeks.
        for second in 1..=21 * 24 * 3_600 {
            ages.note(second * 1_000, second, age);
        }
        let now = 21 * day;
        for old in [age, 10 * age, 100 * age, 900 * age] {
            let (known, exact) = (ages.given_by(now - old), (now - old) / 1_000);
            let too_long = (exact - known) * 1_000;
            assert!(known <= exact && too_long <= old / 16 + age / 32, "of {old} ms {too_long} too long");
        }
        assert!(ages.len() <= 256, "{}", ages.len());
    }

    proptest! {
        /// Whatever is noted and asked: what is said to be given by a time was.
        #[test]
        fn nothing_is_taken_for_older_than_it_is(
            steps in prop::collection::vec((0u64..500, 1u64..4, 1u64..100_000), 1..400),
            by in 0u64..100_000,
        ) {
            let mut ages = Ages::default();
            let (mut now, mut next, mut given) = (0, 1, Vec::new());
            for (elapsed, count, kept) in steps {
                ages.note(now, next, kept);
                now += elapsed;
                given.extend((next..next + count).map(|id| (id, now)));
                next += count;
                prop_assert!(ages.len() <= MOMENTS_MAX);
            }
            let below = ages.given_by(by);
            for (id, at) in given {
                prop_assert!(id >= below || at <= by, "{id} was given at {at}, not by {by}");
            }
        }
    }
}
