//! The tasks that dial: one per store that is followed, one per plan of voters, one per index that is being copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_ports::process::TaskGuard;
use trunkline_types::NodeId;

use crate::layout::Plan;
use crate::worker::Worker;
use crate::{copy_index, follow_stream, session_stream};

/// Ends them all when dropped.
#[derive(Debug, Default)]
pub(crate) struct Dialed {
    peers: BTreeMap<NodeId, (Arc<str>, TaskGuard)>,
    plans: Vec<(Plan, TaskGuard)>,
    copies: BTreeMap<u16, TaskGuard>,
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

    /// Copies a group's index from the nearest store that has it.
    pub(crate) fn begin_copy(&mut self, group: u16, facts_from: u64) {
        if !self.sessions.begin_copying(group) {
            return;
        }
        tracing::info!(group, facts_from, "away for longer than facts are kept: the index is copied");
        let mut peers: Vec<_> = self.layout.peers.clone();
        peers.sort_by_key(|peer| (!peer.near, peer.round_trip, peer.node));
        let addresses = peers.into_iter().map(|peer| peer.address).collect();
        let task = copy_index::copy(self.host.clone(), self.handle.clone(), group, facts_from, addresses);
        let guard = self.host.process.spawn("store-copy-index", task).abort_on_drop();
        self.dialed.copies.insert(group, guard);
    }

    pub(crate) fn copy_ended(&mut self, group: u16) {
        self.dialed.copies.remove(&group);
        self.sessions.end_copying(group);
    }
}
