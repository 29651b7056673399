//! A group's index copied from another store, where the facts that were missed are kept no more.

use trunkline_types::{NodeId, TopicId};

use super::catalog::{Catalog, Effect};
use super::facts::{Row, Settled};
use super::log::LogNo;
use super::topic::Topic;

/// One log as the other store had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedLog {
    pub log: LogNo,
    /// The group's own number for it.
    pub number: u32,
    pub ordered: u64,
    pub closed: bool,
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

/// Everything that the facts up to `facts_index` say, but for the index itself, whose rows were written before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub facts_index: u64,
    pub logs: Vec<CopiedLog>,
    pub topics: Vec<CopiedTopic>,
    pub boots_ended: Vec<(NodeId, u32)>,
}

impl Catalog {
    /// Takes a copy, if it is ahead of what is here. Its rows are to be written after those of the index.
    pub fn stage_copy(
        &mut self,
        group: u16,
        copied: Copied,
        rows: &mut Vec<Row>,
        settled: &mut Vec<Settled>,
    ) {
        if copied.facts_index < self.facts_from(group) {
            return;
        }
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
            topics.push((from.topic, from.next));
            rows.extend([Row::Topic(from.topic), Row::Mark(from.topic)]);
        }
        let mut logs = Vec::new();
        for from in copied.logs {
            let log = self.log_mut(from.log);
            log.staged = log.staged.max(from.ordered);
            if from.closed && log.closed.is_none() && log.close(from.ordered) {
                rows.push(Row::DropBeyond { log: from.log, end: from.ordered });
            }
            self.group_mut(group).numbers.insert(from.number, Some(from.log));
            self.log_is_named(from.log);
            self.forget_if_complete(from.log);
            logs.push((from.log, from.ordered));
            rows.extend([
                Row::Log(from.log),
                Row::Number { group, number: from.number, log: Some(from.log) },
            ]);
        }
        for (node, counter) in copied.boots_ended {
            self.recover_boot(group, node, counter);
            rows.push(Row::Boot { group, node, counter });
        }
        settled.push(Settled::Copied { logs, topics });
        self.stage_index(group, copied.facts_index, rows, settled);
    }

    pub(super) fn settle_copied(
        &mut self,
        logs: &[(LogNo, u64)],
        topics: &[(TopicId, u64)],
        effects: &mut Vec<Effect>,
    ) {
        for &(no, ordered) in logs {
            let log = self.log_mut(no);
            log.ordered = log.ordered.max(ordered);
            log.runs.drop_below(log.ordered);
            self.runs_wanted(no, effects);
            effects.push(Effect::Reportable(no));
        }
        for &(id, next) in topics {
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.jump(next);
                self.advance(id, effects);
            }
        }
    }
}
