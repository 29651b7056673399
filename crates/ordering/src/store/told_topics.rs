//! What a store says of a group's topics each second, for retention: up to where they can be read here, and what is beyond
//! the bytes that they keep. Those that have changed; and of the others some, in turn, should a word have been lost.

use std::collections::BTreeSet;

use trunkline_types::TopicId;
use trunkline_types::limits::{HELD_TOPICS_AGAIN, HELD_TOPICS_MAX};

use super::catalog::Catalog;
use super::topic::Topic;
use crate::group::HeldTopic;

/// One group's.
#[derive(Clone, Debug)]
pub struct ToldTopics {
    group: u16,
    changed: BTreeSet<TopicId>,
    next: TopicId,
}

impl ToldTopics {
    pub fn new(group: u16) -> Self {
        Self { group, changed: BTreeSet::new(), next: TopicId(0) }
    }

    /// Who hears it knows nothing yet: everything is said again.
    pub fn restart(&mut self, catalog: &Catalog) {
        let group = self.group;
        let own = catalog.topics().map(|(id, _)| id).filter(|id| catalog.group_of(id.bucket()) == group);
        self.changed = own.collect();
    }

    /// What there is to say of the topic has changed.
    pub fn touch(&mut self, topic: TopicId) {
        self.changed.insert(topic);
    }

    /// The next words. `beyond`: the IDs below it are beyond the bytes that a topic keeps.
    pub fn next(&mut self, catalog: &Catalog, beyond: impl Fn(TopicId) -> u64) -> Vec<(TopicId, HeldTopic)> {
        let mut of: Vec<TopicId> =
            std::iter::from_fn(|| self.changed.pop_first()).take(HELD_TOPICS_MAX).collect();
        let group = self.group;
        let others = catalog.topics_from(self.next).map(|(id, _)| id);
        let again: Vec<TopicId> =
            others.filter(|id| catalog.group_of(id.bucket()) == group).take(HELD_TOPICS_AGAIN).collect();
        self.next = match again.last() {
            Some(last) if again.len() == HELD_TOPICS_AGAIN => TopicId(last.0 + 1),
            _ => TopicId(0),
        };
        of.extend(again);
        of.sort_unstable();
        of.dedup();
        let word = |topic: &Topic, id| HeldTopic { readable: topic.watermark() + 1, beyond: beyond(id) };
        let live = |id: TopicId| catalog.topic(id).filter(|topic| !topic.deleted && topic.watermark() > 0);
        of.into_iter().filter_map(|id| Some((id, word(live(id)?, id)))).collect()
    }
}
