//! The links to all peers, made when a group first needs them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use trunkline_ports::Host;
use trunkline_types::{ClusterMap, NodeId};

use crate::link::Link;

/// One link per peer, shared by all groups.
pub(crate) struct Peers {
    host: Host,
    links: Mutex<BTreeMap<NodeId, Arc<Link>>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peers")
    }
}

impl Peers {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, links: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) fn link(&self, peer: NodeId) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.entry(peer).or_insert_with(|| Arc::new(Link::start(&self.host, peer))).clone()
    }

    /// Whether a peer was heard lately. Begins to listen to one that was not needed before.
    pub(crate) fn is_up(&self, peer: NodeId) -> bool {
        self.link(peer).is_up()
    }

    /// Lets go of those that are no more.
    pub(crate) fn forget_others(&self, map: &ClusterMap) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|peer, _| map.member(*peer).is_some());
    }

    pub(crate) fn close(&self) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
