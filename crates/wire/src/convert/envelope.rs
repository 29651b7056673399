use trunkline_types::{Boot, ClusterId, NodeId};

use crate::internal;

impl internal::Envelope {
    pub fn new(cluster: ClusterId, map_version: u64, node: NodeId, boot: Boot) -> Self {
        Self { cluster: cluster.0, map_version, node: node.0, boot: Some(boot.into()) }
    }

    /// The sender's boot; the zero boot where it has none (push and pop servers have a fresh node id per start).
    pub fn boot(&self) -> Boot {
        self.boot.map(Boot::from).unwrap_or_default()
    }
}
