//! Raft's times from the map's worst round trip.
//!
//! openraft gives a heartbeat its interval as deadline, so that must exceed the round trip; and a leader's lease is the
//! longest election timeout, so that must exceed a heartbeat and its answer, or it lapses between two of them.

use std::time::Duration;

use crate::options::Options;
use crate::raft::{Config, SnapshotPolicy};

const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const ELECTION_MAX_LEAST: Duration = Duration::from_millis(300);
/// What an answer may be late beside the round trip before a lease lapses.
const SLACK: Duration = Duration::from_millis(10);
/// openraft wants the shortest election timeout above the heartbeat; a little is enough, for it begins only after the
/// lease.
const ABOVE_HEARTBEAT: Duration = Duration::from_millis(5);
const APPEND_TIMEOUT_MIN: Duration = Duration::from_secs(2);
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// All times of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    pub(crate) election_min: Duration,
    /// Also the leader's lease: without a quorum's word for so long it is none.
    pub(crate) election_max: Duration,
    /// An append without an answer for so long is sent again.
    pub(crate) append: Duration,
}

impl Timing {
    /// `round_trip` is the worst between any two voters.
    pub(crate) fn of(round_trip: Duration) -> Self {
        let heartbeat = HEARTBEAT_MIN.max(round_trip * 13 / 10);
        // openraft's ticks let a heartbeat be a fifth late.
        let election_max = ELECTION_MAX_LEAST.max(heartbeat * 5 / 4 + round_trip + SLACK);
        Self {
            heartbeat,
            election_min: (heartbeat + ABOVE_HEARTBEAT).max(election_max / 2),
            election_max,
            append: APPEND_TIMEOUT_MIN.max(4 * election_max),
        }
    }

    pub(crate) fn config(&self, options: &Options) -> Config {
        Config {
            cluster_name: "trunkline".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
            max_payload_entries: options.entries_per_append_max,
            replication_lag_threshold: 2 * options.snapshot_entries,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
            max_in_snapshot_log_to_keep: options.entries_kept,
            purge_batch_size: 64,
            broadcast_submitted_on_append: Some(true),
            // At least twice the lease: a leader that is alone falls silent for so long before it probes again.
            quorum_loss_probe_interval: Some(2 * millis(self.election_max)),
            enable_pre_vote: Some(true),
            // What is applied is not on disk: leadership is earned anew after a restart.
            enable_leader_restore: Some(false),
            ..Config::default()
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_round_trip_and_openraft_accepts_them() {
        let table = [(0, 100, 150, 300), (72, 100, 150, 300), (150, 195, 201, 403), (300, 390, 398, 797)];
        for (round_trip, heartbeat, min, max) in table {
            let timing = Timing::of(Duration::from_millis(round_trip));
            let times = [timing.heartbeat, timing.election_min, timing.election_max].map(millis);
            assert_eq!(times, [heartbeat, min, max], "at {round_trip} ms");
            assert!(timing.config(&Options::default()).validate().is_ok(), "at {round_trip} ms");
        }
    }
}
