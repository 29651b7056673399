//! The tasks that dial: one per store that is followed, one per plan of voters, one per index that is being copied,
//! one for closed logs that are lacking.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_ports::process::TaskGuard;
use trunkline_types::NodeId;

use crate::layout::Plan;
use crate::worker::Worker;
use crate::{follow_stream, session_stream};

/// Ends them all when dropped.
#[derive(Debug, Default)]
pub(crate) struct Dialed {
    peers: BTreeMap<NodeId, (Arc<str>, TaskGuard)>,
    plans: Vec<(Plan, TaskGuard)>,
    pub(crate) copies: BTreeMap<u16, TaskGuard>,
    /// Closed logs that are being copied.
    pub(crate) log_copies: Option<TaskGuard>,
}

impl Worker {
    /// Dials whom the layout names; what has not changed goes on.
    pub(crate) fn dial(&mut self) {
        let (host, handle, layout) = (&self.host, &self.handle, &self.layout);
        let named =
            |node: NodeId, address: &Arc<str>| layout.peer(node).is_some_and(|p| p.address == *address);
        self.dialed.peers.retain(|&node, (address, _)| named(node, address));
        for peer in &layout.peers {
            self.dialed.peers.entry(peer.node).or_insert_with(|| {
                let (address, handle) = (peer.address.clone(), handle.clone());
                let task = follow_stream::follow(host.clone(), handle, peer.node, address.clone());
                (address, host.process.spawn("store-follow", task).abort_on_drop())
            });
        }
        if self.dialed.plans.iter().map(|(plan, _)| plan).ne(layout.plans.iter()) {
            self.dialed.plans.clear();
            for (at, plan) in layout.plans.iter().enumerate() {
                let task = session_stream::run(host.clone(), handle.clone(), at, plan.clone());
                let guard = host.process.spawn("store-session", task).abort_on_drop();
                self.dialed.plans.push((plan.clone(), guard));
            }
        }
    }
}
