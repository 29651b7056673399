//! When a coordinator begins a new origin log for a bucket: one that overtakes, after an outage, so that fresh records
//! do not queue behind the backlog.
//!
//! An outage is when records of one's own have been on disk in no other datacenter, without progress, for more than
//! `OVERTAKE_AFTER`, until contact with another datacenter is there again. Records that are elsewhere and merely wait
//! for a quorum are no backlog to overtake: order is kept for them.

use std::time::Duration;

use trunkline_types::limits::{OVERTAKE_AFTER, OVERTAKE_INTERVAL};

/// The state of one bucket's own current log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Succession {
    /// Since when there are records that no other datacenter has, without any progress.
    stuck_since: Option<Duration>,
    due: bool,
    changed_at: Option<Duration>,
}

impl Succession {
    /// A record was appended to the current log.
    pub fn appended(&mut self, now: Duration) {
        self.stuck_since.get_or_insert(now);
    }

    /// Another datacenter has more of the current log than before; `all` of it, perhaps.
    pub fn progressed(&mut self, now: Duration, all: bool) {
        self.stuck_since = if all { None } else { Some(now) };
    }

    /// A store of another datacenter begins to follow (again).
    pub fn contact(&mut self, now: Duration) {
        let stuck = self.stuck_since.is_some_and(|since| now.saturating_sub(since) > OVERTAKE_AFTER);
        let recent = self.changed_at.is_some_and(|at| now.saturating_sub(at) < OVERTAKE_INTERVAL);
        self.due |= stuck && !recent;
    }

    /// Before an append: whether it goes to a new, overtaking log. True once per outage.
    pub fn take_due(&mut self, now: Duration) -> bool {
        if !std::mem::take(&mut self.due) {
            return false;
        }
        self.changed_at = Some(now);
        self.stuck_since = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_ends_in_one_overtaking_change_after_the_heal() {
        let mut bucket = Succession::default();
        bucket.appended(at(10));
        assert!(!bucket.take_due(at(16)), "not during the outage");
        bucket.contact(at(17));
        bucket.contact(at(17));
        assert!(bucket.take_due(at(17)));
        bucket.appended(at(17));
        bucket.contact(at(23));
        assert!(!bucket.take_due(at(23)), "the same outage");
    }

    #[test]
    fn a_short_break_or_a_backlog_that_moves_changes_nothing() {
        let mut bucket = Succession::default();
        bucket.appended(at(10));
        bucket.contact(at(15));
        assert!(!bucket.take_due(at(15)));
        bucket.progressed(at(15), false);
        bucket.contact(at(19));
        assert!(!bucket.take_due(at(19)));
        bucket.progressed(at(19), true);
        bucket.contact(at(99));
        assert!(!bucket.take_due(at(99)), "nothing waits");
    }
}
