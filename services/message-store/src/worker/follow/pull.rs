//! What is asked for: from whom a log is taken that does not come by itself.

use trunkline_ordering::store::{Ask, Candidate, LogNo};
use trunkline_types::NodeId;
use trunkline_wire::internal::Want;

use crate::worker::Worker;

/// What is asked for.
impl Worker {
    pub(super) fn candidate(&self, node: NodeId, log: LogNo) -> Option<Candidate> {
        let peer = self.layout.peer(node)?;
        let known = self.catalog.log(log);
        Some(Candidate {
            node,
            has: known.at(node),
            near: peer.near,
            origin: known.name.node == node,
            round_trip: peer.round_trip,
        })
    }

    pub(super) fn step_pull(&mut self, log: LogNo) {
        let candidates: Vec<Candidate> =
            self.following.holders.keys().filter_map(|&node| self.candidate(node, log)).collect();
        let known = self.catalog.log(log);
        let (bucket, next, closed) = (known.name.bucket, known.accepted(), known.closed);
        let more = candidates.iter().any(|candidate| candidate.has > next);
        let down: Vec<NodeId> = self.following.down.iter().copied().collect();
        let relay = self.layout.relay(bucket, self.layout.here, &down) == Some(self.me());
        let now = self.now();
        let Some(pull) = self.following.pulls.get_mut(&log) else { return };
        if closed.is_some_and(|end| next >= end) || (!more && pull.asked().is_none()) {
            self.following.pulls.remove(&log);
            return;
        }
        if more {
            let asks = pull.step(now, next, relay, &candidates);
            for ask in asks {
                self.ask(log, Some(ask));
            }
        }
    }

    /// An origin has a stream to this store (again): where it sends unasked, nobody else need be asked.
    pub(super) fn origin_is_back(&mut self, node: NodeId) {
        let down: Vec<NodeId> = self.following.down.iter().copied().collect();
        let now = self.now();
        let logs: Vec<LogNo> = self.following.pulls.keys().copied().collect();
        for log in logs {
            let name = self.catalog.log(log).name;
            let relay = self.layout.relay(name.bucket, self.layout.here, &down) == Some(self.me());
            if name.node == node && relay {
                let stop = self.following.pulls.get_mut(&log).and_then(|pull| pull.origin_is_back(now, node));
                self.ask(log, stop);
            }
        }
    }

    pub(super) fn ask(&mut self, log: LogNo, ask: Option<Ask>) {
        let known = self.catalog.log(log);
        let (node, stop) = match ask {
            Some(Ask::Want(node)) => (node, false),
            Some(Ask::Stop(node)) => (node, true),
            None => return,
        };
        let want = Want { log: Some(known.name.into()), from: known.accepted(), stop };
        if let Some(holder) = self.following.holders.get_mut(&node) {
            holder.wants.push(want);
        }
    }

    pub(in crate::worker) fn following_wants_fast(&self) -> bool {
        !self.following.relay || self.following.pulls.keys().any(|&log| self.lacks(log))
    }

    pub(super) fn lacks(&self, log: LogNo) -> bool {
        let known = self.catalog.log(log);
        self.following.holders.keys().any(|&node| known.at(node) > known.accepted())
    }

    pub(in crate::worker) fn follow_tick(&mut self) {
        self.check_relay();
        let logs: Vec<LogNo> = self.following.pulls.keys().copied().collect();
        for log in logs {
            self.step_pull(log);
        }
    }
}
