//! What a leader does once a second: ends boots, closes logs, trims facts.

use trunkline_types::NodeId;

use super::super::entry::{Assignment, Entry};
use super::super::logs::OpenLog;
use super::super::state::State;
use super::{InFlight, Leader, Proposal};

/// Logs that one entry closes.
const CLOSINGS_MAX: usize = 1_024;

impl Leader {
    /// Once a second: what else there is to propose. Sessions that were silent for too long end here.
    pub fn duties(
        &mut self,
        state: &State,
        map_version: u64,
        order_time_ms: impl FnOnce() -> u64,
    ) -> Vec<Proposal> {
        self.sessions.tick();
        self.trim = self.trim.max(self.trimmable(state));
        let mut proposals = self.ended_boots(state);
        proposals.extend(self.closings(state));
        if let Some(facts_trim) = self.take_trim(state) {
            let order_time_ms = order_time_ms();
            let assignment = Assignment { map_version, order_time_ms, facts_trim, logs: Vec::new() };
            proposals.push(self.proposal(Entry::Assign(assignment), InFlight::Assignment(Vec::new())));
        }
        proposals
    }

    /// A live session of a newer boot shows that the older ones have ended.
    fn ended_boots(&mut self, state: &State) -> Vec<Proposal> {
        let newer = |(store, counter): &(NodeId, u32)| {
            let known = state.logs().ended(*store).map_or(1, |(counter, _)| counter);
            let in_flight =
                self.in_flight.values().any(|what| matches!(what, InFlight::Boots(node) if node == store));
            *counter > known && !in_flight
        };
        let live = self.sessions.iter().map(|(store, session)| (store, session.boot.counter));
        let newer: Vec<(NodeId, u32)> = live.filter(newer).collect();
        let ended = newer
            .into_iter()
            .map(|(node, counter)| (Entry::EndBoots { node, counter }, InFlight::Boots(node)));
        ended.map(|(entry, what)| self.proposal(entry, what)).collect()
    }

    /// Logs that have come to their end and of which every replica, knowing that, has exactly what is ordered.
    fn closings(&mut self, state: &State) -> Option<Proposal> {
        if self.in_flight.values().any(|what| matches!(what, InFlight::Closing)) {
            return None;
        }
        let complete = |&(_, log): &(u32, &OpenLog)| {
            let Some(index) = state.logs().closable_from(&log.name) else { return false };
            let replicas = self.replicas.of(log.name.bucket);
            let exact = |store| self.sessions.exact(store, &log.name, index);
            !replicas.is_empty() && replicas.iter().all(|replica| exact(replica.store) == Some(log.ordered))
        };
        let logs = state.logs().iter().filter(complete).take(CLOSINGS_MAX);
        let logs: Vec<(u32, u64)> = logs.map(|(number, log)| (number, log.ordered)).collect();
        (!logs.is_empty()).then(|| self.proposal(Entry::CloseLogs { logs }, InFlight::Closing))
    }

    /// The index up to which facts may be forgotten: every replica has them on disk; or two datacenters have, and
    /// more than enough is kept for stores that are away.
    fn trimmable(&self, state: &State) -> u64 {
        let index = |store| self.sessions.facts_index(store);
        let all = self.replicas.buckets().map(|bucket| self.replicas.reached_by_all(bucket, index));
        let two = self.replicas.buckets().map(|bucket| self.replicas.reached_by_two(bucket, index));
        let (all, two) = (all.min().unwrap_or(0), two.min().unwrap_or(0));
        all.min(two).max(state.history().index_above(self.fact_runs_kept, two))
    }

    pub(super) fn take_trim(&mut self, state: &State) -> Option<u64> {
        let news = self.trim > self.trim_proposed
            && state.history().oldest().is_some_and(|oldest| oldest <= self.trim);
        news.then(|| {
            self.trim_proposed = self.trim;
            self.trim
        })
    }
}
