//! Which service a role is, and what it is given: only here are storage and consensus plugged into the ports.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use trunkline_ports::{Consensus, Host, Storage};
use trunkline_runtime::{Service, Shutdown};
use trunkline_storage::RocksStorage;
use trunkline_types::{ClusterMap, Role};

use crate::options::Options;

pub(super) struct Started {
    pub(super) service: Service,
    /// message-id: the map that group 0 has committed.
    pub(super) map_committed: Option<watch::Receiver<Arc<ClusterMap>>>,
}
