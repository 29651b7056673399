//! What a service is given: who it is, and what it may touch.

use std::sync::Arc;

use tokio::sync::watch;
use trunkline_types::{Boot, ClusterMap, DatacenterName, NodeId, Role, Standing};
use trunkline_wire::Status;
use trunkline_wire::internal::Envelope;
use trunkline_wire::status::{self, reason};

use crate::network::Network;
use crate::process::Process;
use crate::traces::Traces;

/// Who a node is, for this start of it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub node: NodeId,
    pub boot: Boot,
    pub role: Role,
    pub datacenter: DatacenterName,
    /// `HOST:PORT` at which other nodes reach it.
    pub address: String,
    /// For people: `nyc-store-1`.
    pub name: String,
}

/// Cheap to clone; every service gets one per node.
#[derive(Clone, Debug)]
pub struct Host {
    pub identity: Arc<Identity>,
    pub process: Process,
    pub network: Network,
    pub traces: Traces,
    /// The newest map this node knows. Version 0 until there is one; services are started after that.
    pub map: watch::Receiver<Arc<ClusterMap>>,
}

impl Host {
    pub fn map(&self) -> Arc<ClusterMap> {
        self.map.borrow().clone()
    }

    /// What this node acts under, for everything it sends.
    pub fn envelope(&self) -> Envelope {
        let map = self.map.borrow();
        Envelope::new(map.cluster, map.version, self.identity.node, self.identity.boot)
    }

    /// Refuses what comes from another cluster, from a node that was replaced, or under a map older than this node's.
    /// (A newer map is fine: this node's own watch is on its way to it.)
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`, reason `STALE` or `NODE_REPLACED`: nothing was done.
    pub fn check(&self, envelope: Option<&Envelope>) -> Result<(), Status> {
        let map = self.map.borrow();
        let Some(envelope) = envelope else {
            return Err(Status::invalid_argument("malformed message: envelope"));
        };
        if envelope.cluster != map.cluster.0 {
            return Err(stale(format!("this node belongs to cluster {}", map.cluster)));
        }
        replaced(&map, NodeId(envelope.node))?;
        if envelope.map_version < map.version {
            return Err(stale(format!("the cluster map has version {}", map.version)));
        }
        Ok(())
    }

    /// Refuses a node that is no more.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`, reason `NODE_REPLACED`: nothing was done.
    pub fn check_standing(&self, node: NodeId) -> Result<(), Status> {
        replaced(&self.map.borrow(), node)
    }
}

fn replaced(map: &ClusterMap, node: NodeId) -> Result<(), Status> {
    let Standing::Replaced(known) = map.standing(node) else { return Ok(()) };
    let message = format!("node {node} was replaced by {}", known.by);
    Err(status::not_stored(&status::failed_precondition(reason::NODE_REPLACED, message)))
}

fn stale(message: String) -> Status {
    status::not_stored(&status::failed_precondition(reason::STALE, message))
}
