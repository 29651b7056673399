//! What a node's own file may say about this service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// Section `subscription-position`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Options {
    /// How often a leader looks whether its group belongs to another voter.
    #[serde(with = "humantime_serde")]
    pub balance_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { balance_interval: Duration::from_secs(5) }
    }
}

impl Options {
    /// # Errors
    /// [`StartError::Options`] in the words of the file.
    pub fn validate(&self) -> Result<(), StartError> {
        if self.balance_interval < Duration::from_millis(100) {
            return Err(StartError::Options("balance-interval: must be at least 100ms"));
        }
        Ok(())
    }
}
