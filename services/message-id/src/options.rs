//! What an operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline_types::limits::{FACT_RUNS_KEPT, FACT_RUNS_MAX, TOPICS_PER_GROUP_MAX};

/// The section `message-id` of a node's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Options {
    /// A node's groups propose together, at ticks of so much: what comes meanwhile shares an assignment, and what is
    /// appended shares packets and fsyncs. Adds at most this to the time a message takes to its ID.
    #[serde(with = "humantime_serde")]
    pub assignment_interval: Duration,
    /// Topics that one group takes; a creation beyond is refused.
    pub topics_per_group_max: usize,
    /// Facts (runs) that a group keeps for a store that is away; one that is away longer copies the index from another.
    pub fact_runs_kept: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            assignment_interval: Duration::from_millis(8),
            topics_per_group_max: TOPICS_PER_GROUP_MAX,
            fact_runs_kept: FACT_RUNS_KEPT,
        }
    }
}

impl Options {
    /// # Errors
    /// A sentence in the words of the file.
    pub fn validate(&self) -> Result<(), String> {
        if !(Duration::from_millis(1)..=Duration::from_millis(100)).contains(&self.assignment_interval) {
            return Err("assignment-interval must be from 1ms to 100ms".to_owned());
        }
        if !(1..=TOPICS_PER_GROUP_MAX).contains(&self.topics_per_group_max) {
            return Err(format!("topics-per-group-max must be from 1 to {TOPICS_PER_GROUP_MAX}"));
        }
        if self.fact_runs_kept >= FACT_RUNS_MAX {
            return Err(format!("fact-runs-kept must be below {FACT_RUNS_MAX}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_refused_in_the_words_of_the_file() {
        assert_eq!(Options::default().validate(), Ok(()));
        let slow = Options { assignment_interval: Duration::from_secs(1), ..Options::default() };
        assert_eq!(slow.validate().unwrap_err(), "assignment-interval must be from 1ms to 100ms");
        let none = Options { topics_per_group_max: 0, ..Options::default() };
        assert_eq!(none.validate().unwrap_err(), "topics-per-group-max must be from 1 to 1048576");
        let all = Options { fact_runs_kept: FACT_RUNS_MAX, ..Options::default() };
        assert_eq!(all.validate().unwrap_err(), "fact-runs-kept must be below 4194304");
    }
}
