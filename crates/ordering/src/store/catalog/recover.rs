//! A catalog as it was found on disk.

use trunkline_types::{IntervalSet, LogName, NodeId, ProducerId, TopicId};

use super::{Catalog, Effect};
use crate::group::Predecessor;
use crate::store::log::{Log, LogNo};
use crate::store::topic::Topic;

/// What was found on disk, in this order; then [`Catalog::recovered`].
impl Catalog {
    /// Rows come in order of their numbers, none is left out.
    pub fn recover_log(
        &mut self,
        name: LogName,
        predecessor: Option<Predecessor>,
        closed: Option<u64>,
        durable: u64,
        ordered: u64,
    ) -> LogNo {
        let mut log = Log::new(name, predecessor);
        log.recover(durable, ordered);
        if let Some(end) = closed {
            log.close(end);
        }
        self.add(log)
    }

    /// A log that was closed and complete here.
    pub fn recover_closed(&mut self, name: &LogName) {
        self.closed.insert(name);
        self.take_number();
    }

    pub fn recover_group(&mut self, group: u16, facts_index: u64) {
        let group = self.group_mut(group);
        (group.staged, group.settled) = (facts_index, facts_index);
    }

    /// Numbers are of logs that are not closed.
    pub fn recover_number(&mut self, group: u16, number: u32, log: Option<LogNo>) {
        self.group_mut(group).numbers.insert(number, log);
        if let Some(log) = log {
            self.log_mut(log).number = Some(number);
            self.log_is_named(log);
        }
    }

    pub fn recover_boot(&mut self, group: u16, node: NodeId, counter: u32) {
        self.group_mut(group).boots_ended.insert(node, counter);
        self.end_boots(group, node, counter);
    }

    /// `deleted_at`: where the topic is deleted.
    pub fn recover_topic(&mut self, id: TopicId, name: String, options: Vec<u8>, deleted_at: Option<u64>) {
        let mut topic = Topic::new(name.clone(), options);
        let deleted = deleted_at.is_some();
        (topic.deleted, topic.deleted_at) = (deleted, deleted_at.unwrap_or(0));
        if !deleted && !name.is_empty() {
            self.topic_names.insert(name, id);
        }
        self.topics.insert(id, topic);
    }

    /// A topic that is deleted, and of which nothing is left.
    pub fn recover_gone(&mut self, id: TopicId) {
        self.gone.insert(id);
    }

    pub fn recover_trim(&mut self, id: TopicId, trimmed: u64, purged: u64) {
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.trim(trimmed);
            topic.purged = purged;
        }
    }

    pub fn recover_everywhere(&mut self, group: u16, index: u64) {
        self.group_mut(group).everywhere = index;
    }

    pub fn recover_mark(&mut self, id: TopicId, next: u64, readable: u64) {
        let topic = self.topics.entry(id).or_insert_with(|| Topic::new(String::new(), Vec::new()));
        topic.recover(next, readable);
    }

    /// The sequences of a producer that have IDs.
    pub fn recover_producer(&mut self, topic: TopicId, producer: ProducerId, sequences: IntervalSet) {
        self.producers.recover(topic, producer, sequences);
    }

    /// Everything was said: what is to be read further.
    pub fn recovered(&mut self, effects: &mut Vec<Effect>) {
        let topics: Vec<TopicId> = self.topics.keys().copied().collect();
        for id in topics {
            self.advance(id, effects);
            effects.extend(self.may_purge(id).then_some(Effect::Purge(id)));
        }
        effects.extend(self.groups.keys().map(|&group| Effect::PurgeVoids(group)));
        let open: Vec<LogNo> = self.all_open_logs().collect();
        for no in open {
            let ended = self.has_successor(&self.log(no).name);
            self.log_mut(no).ended |= ended;
            if self.forget_if_complete(no) {
                effects.push(Effect::Complete(no));
            }
            self.runs_wanted(no, effects);
        }
    }
}
