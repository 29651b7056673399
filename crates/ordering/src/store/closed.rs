//! Which logs have come to their end everywhere and are complete here: all that stays of them in memory, for ever.

use std::collections::BTreeMap;

use trunkline_types::{Bucket, IntervalSet, Lane, LogName, NodeId};

/// Exact, as intervals of (boot counter << 32 | ordinal).
#[derive(Clone, Debug, Default)]
pub(super) struct ClosedLogs {
    of: BTreeMap<(Bucket, NodeId, Lane), IntervalSet>,
}

impl ClosedLogs {
    pub(super) fn insert(&mut self, log: &LogName) {
        let place = place(log);
        self.of.entry((log.bucket, log.node, log.lane)).or_default().insert(place..place + 1);
    }

    pub(super) fn contains(&self, log: &LogName) -> bool {
        self.of.get(&(log.bucket, log.node, log.lane)).is_some_and(|closed| closed.contains(place(log)))
    }

    /// Whether a log that the same boot wrote after this one is closed.
    pub(super) fn contains_later(&self, log: &LogName) -> bool {
        let later = place(log) + 1..(u64::from(log.boot.counter) + 1) << 32;
        let closed = self.of.get(&(log.bucket, log.node, log.lane));
        closed.is_some_and(|closed| closed.missing(later.clone()) != [later])
    }
}

fn place(log: &LogName) -> u64 {
    u64::from(log.boot.counter) << 32 | u64::from(log.ordinal.0)
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Boot, Ordinal};

    use super::*;

    #[test]
    fn a_log_is_closed_by_its_boot_and_ordinal_and_shows_that_those_before_it_have_ended() {
        let log = |counter, ordinal| LogName {
            bucket: Bucket(1),
            node: NodeId(2),
            boot: Boot { counter, random: 3 },
            lane: Lane(0),
            ordinal: Ordinal(ordinal),
        };
        let mut closed = ClosedLogs::default();
        closed.insert(&log(1, 2));
        for (log, contains, later) in [
            (log(1, 1), false, true),
            (log(1, 2), true, false),
            (log(1, 3), false, false),
            (log(0, 9), false, false),
            (log(2, 1), false, false),
            (LogName { lane: Lane(1), ..log(1, 1) }, false, false),
        ] {
            assert_eq!((closed.contains(&log), closed.contains_later(&log)), (contains, later), "{log}");
        }
    }
}
