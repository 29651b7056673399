//! What an operator may tune, by section of the file.

use serde::Deserialize;
use trunkline_types::limits::CLIENT_CALLS_MAX;

/// Each service's own options, and those of what the process shares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    pub push: trunkline_push::Options,
    pub pop: trunkline_pop::Options,
    pub message_id: trunkline_message_id::Options,
    pub message_store: trunkline_message_store::Options,
    pub storage: trunkline_storage::Options,
    pub consensus: trunkline_consensus::Options,
    pub clients: Clients,
}

impl Options {
    /// # Errors
    /// A sentence in the words of the file.
    pub fn validate(&self) -> Result<(), String> {
        fn in_section<E: std::fmt::Display>(name: &'static str) -> impl FnOnce(E) -> String {
            move |why| format!("[{name}] {why}")
        }
        self.push.validate().map_err(in_section("push"))?;
        self.pop.validate().map_err(in_section("pop"))?;
        self.message_id.validate().map_err(in_section("message-id"))?;
        self.message_store.validate().map_err(in_section("message-store"))?;
        self.storage.validate().map_err(in_section("storage"))?;
        self.consensus.validate().map_err(in_section("consensus"))?;
        if self.clients.calls_max == 0 {
            return Err("[clients] calls-max: must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// The section `[clients]`: the listener for clients.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Clients {
    /// Calls under way at a time; above it calls are refused with RESOURCE_EXHAUSTED and a delay.
    pub calls_max: usize,
}

impl Default for Clients {
    fn default() -> Self {
        Self { calls_max: CLIENT_CALLS_MAX }
    }
}
