//! What an operator can set.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline_types::ByteSize;

use crate::error::StartError;

/// Settings of a pop server: section `pop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Whether Subscribe creates a topic that is missing, with the defaults.
    pub auto_create_topics: bool,
    /// Subscriptions dispatched here at once; beyond it Pop is refused.
    pub dispatched_max: usize,
    /// Messages of all dispatched subscriptions in memory; beyond it little is read at once, and nothing is kept for
    /// who does not wait.
    pub held_bytes_max: ByteSize,
    /// A subscription that nobody pops and that owes nothing is given up after it.
    #[serde(with = "humantime_serde")]
    pub idle_after: Duration,
    /// A topic's id is asked for again after it.
    #[serde(with = "humantime_serde")]
    pub topic_known_for: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auto_create_topics: true,
            dispatched_max: 50_000,
            held_bytes_max: ByteSize::mib(512),
            idle_after: Duration::from_secs(60),
            topic_known_for: Duration::from_secs(5),
        }
    }
}

impl Options {
    /// # Errors
    /// [`StartError::Options`] in the words of the file.
    pub fn validate(&self) -> Result<(), StartError> {
        if self.dispatched_max == 0 {
            return Err(StartError::Options("dispatched-max: must be at least 1"));
        }
        if self.idle_after < Duration::from_secs(1) {
            return Err(StartError::Options("idle-after: must be at least 1s"));
        }
        Ok(())
    }
}
