//! A bounded memory of names: two generations, of which the older is dropped when the younger is full.

use std::collections::BTreeMap;

use trunkline_types::{TopicId, TopicName};

use super::Topic;

#[derive(Debug)]
pub(super) struct Cache {
    young: BTreeMap<TopicName, Topic>,
    old: BTreeMap<TopicName, Topic>,
    /// Per generation.
    max: usize,
}

impl Cache {
    /// Holds at most `max` names, and at least half as many of those used last.
    pub(super) fn new(max: usize) -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new(), max: (max / 2).max(1) }
    }

    pub(super) fn get(&mut self, name: &TopicName) -> Option<Topic> {
        if let Some(topic) = self.young.get(name) {
            return Some(*topic);
        }
        let topic = self.old.remove(name)?;
        self.insert(name.clone(), topic);
        Some(topic)
    }

    pub(super) fn insert(&mut self, name: TopicName, topic: Topic) {
        if self.young.len() >= self.max {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&name);
        self.young.insert(name, topic);
    }

    /// Forgets the name if it still stands for `id`.
    pub(super) fn remove(&mut self, name: &TopicName, id: TopicId) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.get(name).is_some_and(|topic| topic.id == id) {
                generation.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_wire::v1::TopicOptions;

    use super::*;

    fn name(n: u64) -> TopicName {
        TopicName::new(format!("topic-{n}")).expect("a valid name")
    }

    fn topic(n: u64) -> Topic {
        Topic::new(TopicId(n), &TopicOptions::default())
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut cache = Cache::new(100);
        for n in 1..=1_000 {
            cache.insert(name(n), topic(n));
            assert_eq!(cache.get(&name(1)), Some(topic(1)), "used after {n} others");
        }
        assert!(cache.young.len() + cache.old.len() <= 100);
        assert_eq!(cache.get(&name(2)), None);
        assert_eq!(cache.get(&name(1_000)), Some(topic(1_000)));
    }

    #[test]
    fn a_newer_topic_of_the_same_name_is_not_forgotten_for_an_older_one() {
        let mut cache = Cache::new(10);
        cache.insert(name(1), topic(2));
        cache.remove(&name(1), TopicId(1));
        assert_eq!(cache.get(&name(1)), Some(topic(2)));
        cache.remove(&name(1), TopicId(2));
        assert_eq!(cache.get(&name(1)), None);
    }
}
