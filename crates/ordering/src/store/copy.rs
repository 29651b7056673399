//! A group's index copied from another store, where the facts that were missed are kept no more.

use trunkline_types::{NodeId, TopicId};

use super::catalog::{Catalog, Effect};
use super::facts::{Row, Settled};
use super::log::LogNo;
use super::topic::Topic;

/// One log as the other store had it, not closed before here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedLog {
    pub log: LogNo,
    /// The group's own number for it; `None`: it is closed.
    pub number: Option<u32>,
    pub ordered: u64,
}

/// One topic as the other store had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTopic {
    pub topic: TopicId,
    pub name: String,
    pub options: Vec<u8>,
    pub deleted: bool,
    pub next: u64,
}

/// What a store had of some buckets, all that its facts said of them, but for the index itself, whose rows were written
/// before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub logs: Vec<CopiedLog>,
    pub topics: Vec<CopiedTopic>,
    pub boots_ended: Vec<(NodeId, u32)>,
}

impl Catalog {
    /// Takes a copy of some buckets. Facts that it knows already may come again: of a whole bucket they are passed over.
    pub fn stage_copy(
        &mut self,
        group: u16,
        copied: Copied,
        rows: &mut Vec<Row>,
        settled: &mut Vec<Settled>,
    ) {
        let mut topics = Vec::new();
        for from in copied.topics {
            if !self.holds(from.topic.bucket()) {
                continue;
            }
            if !from.deleted && !from.name.is_empty() {
                self.topic_names.insert(from.name.clone(), from.topic);
            } else if self.topic_names.get(&from.name) == Some(&from.topic) {
                self.topic_names.remove(&from.name);
            }
            let topic =
                self.topics.entry(from.topic).or_insert_with(|| Topic::new(String::new(), Vec::new()));
            (topic.name, topic.options, topic.deleted) = (from.name, from.options, from.deleted);
            topic.staged_next = topic.staged_next.max(from.next);
            topic.forget_order_time();
            topics.push((from.topic, from.next));
            rows.extend([Row::Topic(from.topic), Row::Mark(from.topic)]);
        }
        let mut logs = Vec::new();
        for from in copied.logs {
            let Some(log) = self.find_mut(from.log) else { continue };
            log.staged = log.staged.max(from.ordered);
            let before = std::mem::replace(&mut log.number, from.number);
            if let Some(number) = from.number {
                self.group_mut(group).numbers.insert(number, Some(from.log));
                rows.extend([Row::Log(from.log), Row::Number { group, number, log: Some(from.log) }]);
            } else {
                if let Some(number) = before {
                    self.group_mut(group).numbers.remove(&number);
                    rows.push(Row::NumberClosed { group, number });
                }
                self.close_log(from.log, from.ordered, rows);
            }
            self.log_is_named(from.log);
            logs.push((from.log, from.ordered));
        }
        for (node, counter) in copied.boots_ended {
            self.end_boots_below(group, node, counter, rows);
        }
        settled.push(Settled::Copied { logs, topics });
    }

    /// Copies of all buckets of the group are there, each as the facts up to `index` say, or later ones.
    pub fn end_copy(&mut self, group: u16, index: u64, rows: &mut Vec<Row>, settled: &mut Vec<Settled>) {
        rows.push(Row::Copying { group, upto: None });
        self.stage_index(group, index, rows, settled);
    }

    pub(super) fn settle_copied(
        &mut self,
        logs: &[(LogNo, u64)],
        topics: &[(TopicId, u64)],
        effects: &mut Vec<Effect>,
    ) {
        for &(no, ordered) in logs {
            self.ordered_up_to(no, ordered, effects);
        }
        for &(id, next) in topics {
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.jump(next);
                self.advance(id, effects);
            }
        }
    }
}
