//! What an operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline_types::limits::RECENT_RECORDS_BYTES_DEFAULT;

/// The section `message-store` of a node's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Options {
    /// Bytes of recent records kept in memory, shared by all logs: fresh reads and followers cost no disk.
    pub recent_records_bytes: usize,
    /// Bytes of one follower's catch-up that are under way at a time, so that fresh records pass it.
    pub catch_up_bytes: usize,
    /// Reads of older records that go to disk at the same time.
    pub cold_reads_max: usize,
    /// What is kept no more gives its room back to the disk so often, at most.
    #[serde(with = "humantime_serde")]
    pub reclaim_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            recent_records_bytes: RECENT_RECORDS_BYTES_DEFAULT,
            catch_up_bytes: 4 << 20,
            cold_reads_max: 32,
            reclaim_interval: Duration::from_secs(600),
        }
    }
}

impl Options {
    /// # Errors
    /// A sentence in the words of the file.
    pub fn validate(&self) -> Result<(), String> {
        if self.catch_up_bytes < 1 << 16 {
            return Err("catch-up-bytes must be at least 65536".to_owned());
        }
        if self.cold_reads_max == 0 {
            return Err("cold-reads-max must be at least 1".to_owned());
        }
        if self.reclaim_interval < Duration::from_secs(1) {
            return Err("reclaim-interval must be at least 1s".to_owned());
        }
        Ok(())
    }
}
