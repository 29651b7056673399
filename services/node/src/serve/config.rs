//! The file of `trunkline serve`: defaults, then the file, then the environment, then flags.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use trunkline_types::{DatacenterName, Role};

use crate::node::Plan;
use crate::options::{Clients, Options};
use crate::refusal::Refusal;

/// Everything that a process of its own is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    pub cluster: Cluster,
    pub node: NodeSection,
    /// Where listeners bind, by role, and `clients` and `admin`.
    pub listen: BTreeMap<Door, String>,
    /// `HOST:PORT` at which other nodes reach a role, where it is not where it listens.
    pub advertise: BTreeMap<Role, String>,
    /// A role's data directory, where it is not `node.data-dir`/ROLE.
    pub data: BTreeMap<Role, PathBuf>,
    pub telemetry: trunkline_telemetry::Options,
    // One section each, as in Options; serde's flatten cannot refuse unknown keys.
    pub push: trunkline_push::Options,
    pub pop: trunkline_pop::Options,
    pub message_id: trunkline_message_id::Options,
    pub subscription_position: trunkline_subscription_position::Options,
    pub message_store: trunkline_message_store::Options,
    pub storage: trunkline_storage::Options,
    pub consensus: trunkline_consensus::Options,
    pub clients: Clients,
}
