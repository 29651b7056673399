//! What a leader does once a second: ends boots, closes logs, trims facts, forgets producers.

use trunkline_types::limits::{PRODUCERS_FORGOTTEN_MAX, PRODUCERS_LOOKED_AT_MAX};
use trunkline_types::{NodeId, TopicId};

use super::super::entry::{Assignment, Entry};
use super::super::logs::OpenLog;
use super::super::producers::Producer;
use super::super::state::State;
use super::{InFlight, Leader, Proposal, Run};

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
        proposals.extend(self.forgettings(state));
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

    /// Producers of one topic that were silent for long, and of which no store can have anything that is not decided.
    fn forgettings(&mut self, state: &State) -> Option<Proposal> {
        if self.in_flight.values().any(|what| matches!(what, InFlight::Forgetting)) {
            return None;
        }
        let now = state.order_time_ms();
        let (mut looked_at, mut forgotten) = (0, Vec::new());
        let mut topic = None;
        for (key, known) in state.producers().after(self.looked_at).take(PRODUCERS_LOOKED_AT_MAX) {
            // One topic at a time: the others are looked at next.
            if topic.is_some_and(|topic| topic != key.0) || forgotten.len() == PRODUCERS_FORGOTTEN_MAX {
                break;
            }
            (self.looked_at, looked_at) = (key, looked_at + 1);
            if known.last.is_over(now, state.kept_for(key.0)) && self.all_is_decided(state, key.0, known) {
                topic = Some(key.0);
                forgotten.push((key.1, known.last.index));
            }
        }
        if looked_at == 0 {
            self.looked_at = (TopicId(0), 0);
        }
        let entry = Entry::ForgetProducers { topic: topic?, producers: forgotten };
        Some(self.proposal(entry, InFlight::Forgetting))
    }

    /// Whether every replica, all of them, has said by now that it knows of the producer's last push, and that what it
    /// has beyond the ordered records is none of this producer's: a store that was away may have what none of the others
    /// knows.
    fn all_is_decided(&self, state: &State, topic: TopicId, known: &Producer) -> bool {
        let stores = || self.replicas.of(topic.bucket()).iter().map(|replica| replica.store);
        let knows = |store| self.sessions.facts_index(store).is_some_and(|index| index >= known.last.index);
        stores().next().is_some()
            && stores().all(|store| knows(store) && self.sessions.is_told(store))
            && stores().all(|store| self.has_none_of(state, store, topic, known))
    }

    fn has_none_of(&self, state: &State, store: NodeId, topic: TopicId, known: &Producer) -> bool {
        let is_his = |run: &Run| {
            run.topic == topic && run.produced.is_some_and(|produced| produced.producer == known.id)
        };
        let logs = self.sessions.logs(store).filter(|(log, _)| log.bucket == topic.bucket());
        let mut waiting = logs.filter_map(|(name, held)| {
            let ordered = state.logs().ordered(&name).filter(|ordered| *ordered < held)?;
            Some((name, ordered, held))
        });
        waiting.all(|(name, ordered, held)| {
            let runs = self.logs.get(&name).map(|log| log.runs.between(ordered, held, usize::MAX));
            let runs = runs.unwrap_or_default();
            let told: u64 = runs.iter().map(|run| run.count).sum();
            told == held - ordered && !runs.iter().any(is_his)
        })
    }
}
