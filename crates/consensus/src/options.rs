//! What of this crate is configured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Local tunables of a node's Raft groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// A snapshot is taken after so many entries.
    pub snapshot_entries: u64,
    /// A snapshot is taken after so many bytes of entries.
    pub snapshot_bytes: u64,
    /// So many entries stay behind a snapshot, for voters that are a little behind.
    pub entries_kept: u64,
    /// So many bytes of each group's newest entries stay in memory.
    pub tail_bytes: usize,
    /// Entries that one append carries at most.
    pub entries_per_append_max: u64,
    /// Bytes of proposals, per group, that wait for their commit; beyond it they are refused.
    pub proposals_bytes_max: usize,
    /// How often leaders are compared with where they should be. Zero: never.
    #[serde(with = "humantime_serde")]
    pub balance_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            snapshot_entries: 20_000,
            snapshot_bytes: 32 << 20,
            entries_kept: 5_000,
            tail_bytes: 4 << 20,
            entries_per_append_max: 512,
            proposals_bytes_max: 16 << 20,
            balance_interval: Duration::from_secs(3),
        }
    }
}

impl Options {
    /// # Errors
    /// A sentence in the words of the file, for the first thing that is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("snapshot-entries", self.snapshot_entries),
            ("snapshot-bytes", self.snapshot_bytes),
            ("entries-per-append-max", self.entries_per_append_max),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(format!("{name}: must be at least 1"));
            }
        }
        if self.proposals_bytes_max < 1 << 20 {
            return Err(format!("proposals-bytes-max: {} is below 1048576", self.proposals_bytes_max));
        }
        Ok(())
    }
}
