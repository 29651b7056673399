//! How one subscription wants its messages handed out.

use crate::position::{AckMode, Counts, DeadLetter, Options, Retry};

/// Doubled so often at most.
const DOUBLINGS_MAX: u32 = 31;

/// What of a subscription's [`Options`] its dispatcher acts upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub ack_mode: AckMode,
    pub ack_deadline_ms: u64,
    pub retry: Retry,
    /// Deliveries after which a message goes to the dead letter topic, where there is one.
    pub attempts_max: Option<u32>,
}

impl From<&Options> for Policy {
    fn from(options: &Options) -> Self {
        Self {
            ack_mode: options.ack_mode,
            ack_deadline_ms: options.ack_deadline_ms.into(),
            retry: options.retry,
            attempts_max: options.dead_letter.as_ref().map(|DeadLetter { attempts_max, .. }| *attempts_max),
        }
    }
}

impl Policy {
    /// It is not delivered any more.
    pub(super) fn is_spent(&self, counts: Counts) -> bool {
        self.attempts_max.is_some_and(|max| counts.deliveries >= max)
    }

    /// After how long a message comes again.
    pub(super) fn retry_delay_ms(&self, counts: Counts) -> u64 {
        if self.is_spent(counts) {
            return 0;
        }
        let doublings = counts.deliveries.saturating_sub(1).min(DOUBLINGS_MAX);
        (u64::from(self.retry.min_ms) << doublings).min(self.retry.max_ms.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_most_and_what_is_spent_waits_for_nothing() {
        let retry = Retry { min_ms: 100, max_ms: 1_000 };
        let policy =
            Policy { ack_mode: AckMode::Explicit, ack_deadline_ms: 1_000, retry, attempts_max: Some(9) };
        let delay = |deliveries| policy.retry_delay_ms(Counts { deliveries, nacks: 0 });
        assert_eq!([1, 2, 3, 4, 5, 8, 9].map(delay), [100, 200, 400, 800, 1_000, 1_000, 0]);
        let forever = Policy { attempts_max: None, ..policy };
        assert_eq!(forever.retry_delay_ms(Counts { deliveries: u32::MAX, nacks: 0 }), 1_000);
    }
}
