//! Which follower is sent which log, and which it only hears of.

use trunkline_ordering::store::LogNo;
use trunkline_types::NodeId;
use trunkline_wire::internal::DatacenterEnd;

use super::{FRESH_RECORDS_MAX, Follower, Serve};
use crate::worker::Worker;

/// Which records go where.
impl Worker {
    /// Whether a follower is sent this log without asking, or has asked for it.
    pub(super) fn sends(&self, node: NodeId, follower: &Follower, log: LogNo) -> bool {
        let name = self.catalog.log(log).name;
        if !self.layout.shares(node, name.bucket) {
            return false;
        }
        if follower.logs.get(&log).is_some_and(|serve| serve.wanted) {
            return true;
        }
        if follower.near {
            return !(name.node == node && name.boot == follower.boot);
        }
        name.node == self.me()
            && follower.relay
            && self.layout.relay(name.bucket, follower.datacenter, &follower.lost) == Some(node)
    }

    /// Queues a log for a follower if it is to be sent more of it.
    pub(super) fn offer(&mut self, node: NodeId, log: LogNo) {
        let Some(follower) = self.followers.get(&node).filter(|follower| follower.ready) else { return };
        let known = self.catalog.log(log);
        // What it has told this boot of it counts, and what it asks for; not what is remembered of earlier boots.
        let serve = follower.logs.get(&log).copied().unwrap_or_default();
        let next = serve.next;
        if serve.queued || next >= known.accepted() || !self.sends(node, follower, log) {
            return;
        }
        let superseded = known.name.node == self.me() && !self.is_current(log, known.name.bucket);
        let fresh = !superseded && known.accepted() - next <= FRESH_RECORDS_MAX;
        let Some(follower) = self.followers.get_mut(&node) else { return };
        follower.logs.insert(log, Serve { queued: true, ..serve });
        if fresh { follower.fresh.push_back(log) } else { follower.behind.push_back(log) }
    }

    pub(super) fn offer_all(&mut self, node: NodeId) {
        let logs: Vec<LogNo> = self.catalog.all_open_logs().collect();
        for log in logs {
            self.offer(node, log);
        }
    }

    /// Logs that got records since the last flush.
    pub(in crate::worker) fn offer_grown(&mut self) {
        if self.grown.is_empty() {
            return;
        }
        let nodes: Vec<NodeId> = self.followers.keys().copied().collect();
        for log in std::mem::take(&mut self.grown) {
            for &node in &nodes {
                self.offer(node, log);
            }
        }
    }

    /// Announces logs to a follower that is not sent them and lacks of them.
    pub(super) fn announce_where(&mut self, node: NodeId, which: impl Fn(&Self, LogNo) -> bool) {
        let logs: Vec<LogNo> = self.catalog.all_open_logs().filter(|&log| which(self, log)).collect();
        for log in logs {
            self.announce(node, log);
        }
    }

    pub(super) fn announce(&mut self, node: NodeId, log: LogNo) {
        let Some(follower) = self.followers.get(&node).filter(|follower| follower.ready) else { return };
        let known = self.catalog.log(log);
        let there = follower.logs.get(&log).map_or(1, |serve| serve.next);
        let shared = self.layout.shares(node, known.name.bucket);
        let news = shared && known.durable() > there && (follower.near || !self.sends(node, follower, log));
        if news && let Some(follower) = self.followers.get_mut(&node) {
            follower.announce.insert(log);
        }
    }

    pub(super) fn announce_to_siblings_of(
        &mut self,
        node: NodeId,
        datacenter: u16,
        which: impl Fn(&Self, LogNo) -> bool,
    ) {
        let siblings =
            self.followers.iter().filter(|(other, f)| **other != node && f.datacenter == datacenter);
        let siblings: Vec<NodeId> = siblings.map(|(&other, _)| other).collect();
        for sibling in siblings {
            self.announce_where(sibling, &which);
        }
    }

    /// More of a log is on disk here: followers of other datacenters hear of it where nobody sends it to them.
    pub(in crate::worker) fn durable_moved(&mut self, log: LogNo) {
        self.acknowledge(log);
        let known = self.catalog.log(log);
        let (name, ended) = (known.name, known.ended);
        let mine = name.node == self.me();
        let concerned = |(&node, follower): (&NodeId, &Follower)| {
            let unserved = mine && {
                let relay = self.layout.relay(name.bucket, follower.datacenter, &follower.lost);
                relay.is_none_or(|relay| !self.followers.contains_key(&relay))
            };
            (!follower.near && (ended || unserved || follower.lost.contains(&name.node))).then_some(node)
        };
        let nodes: Vec<NodeId> = self.followers.iter().filter_map(concerned).collect();
        for node in nodes {
            self.announce(node, log);
        }
    }

    pub(in crate::worker) fn serving_wants_fast(&self) -> bool {
        self.followers.values().any(|follower| {
            !follower.announce.is_empty() || (!follower.near && !follower.under_way.is_empty())
        })
    }

    /// A relay that does not acknowledge: its siblings hear what it was sent.
    pub(in crate::worker) fn serve_tick(&mut self) {
        self.drop_gone_followers();
        let now = self.now();
        let stalled = self.followers.iter().filter(|(_, f)| !f.near && f.is_stalled(now));
        let stalled: Vec<(NodeId, u16, Vec<LogNo>)> =
            stalled.map(|(&node, f)| (node, f.datacenter, f.under_way.keys().copied().collect())).collect();
        for (node, datacenter, logs) in stalled {
            self.announce_to_siblings_of(node, datacenter, |_, log| logs.binary_search(&log).is_ok());
        }
        for follower in self.followers.values_mut() {
            follower.announce_now = !follower.announce.is_empty();
        }
    }

    /// What is known of other datacenters' disks, for an acknowledgement on its way to the log's origin.
    pub(in crate::worker) fn elsewhere(&self, log: LogNo, holder: NodeId) -> Vec<DatacenterEnd> {
        let there = self.layout.peer(holder).map(|peer| peer.datacenter);
        let others = self.catalog.log(log).elsewhere();
        others
            .filter(|&(datacenter, end)| {
                datacenter != self.layout.here && Some(datacenter) != there && end > 1
            })
            .map(|(datacenter, end)| DatacenterEnd {
                datacenter: self.layout.datacenter_name(datacenter).to_owned(),
                end,
            })
            .collect()
    }
}
