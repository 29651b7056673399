//! A bounded memory of names: two generations, of which the older is dropped when the younger is full. What is remembered
//! for long is to be looked up again, for its options may have changed.

use std::collections::BTreeMap;

use tokio::time::Instant;
use trunkline_types::limits::TOPIC_OPTIONS_AGE_MAX;
use trunkline_types::{TopicId, TopicName};

use super::Topic;

#[derive(Debug)]
pub(super) struct Cache {
    young: BTreeMap<TopicName, (Topic, Instant)>,
    old: BTreeMap<TopicName, (Topic, Instant)>,
    /// Per generation.
    max: usize,
}

impl Cache {
    /// Holds at most `max` names, and at least half as many of those used last.
    pub(super) fn new(max: usize) -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new(), max: (max / 2).max(1) }
    }

    /// The topic, and whether it is time to look it up again.
    pub(super) fn get(&mut self, name: &TopicName, now: Instant) -> Option<(Topic, bool)> {
        let (topic, at) = match self.young.get(name) {
            Some(known) => *known,
            None => {
                let (topic, at) = self.old.remove(name)?;
                self.insert(name.clone(), topic, at);
                (topic, at)
            }
        };
        Some((topic, now.saturating_duration_since(at) >= TOPIC_OPTIONS_AGE_MAX))
    }

    /// It was found at `at`.
    pub(super) fn insert(&mut self, name: TopicName, topic: Topic, at: Instant) {
        if self.young.len() >= self.max {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&name);
        self.young.insert(name, (topic, at));
    }

    /// Forgets the name if it still stands for `id`.
    pub(super) fn remove(&mut self, name: &TopicName, id: TopicId) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.get(name).is_some_and(|(topic, _)| topic.id == id) {
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
        let (mut cache, now) = (Cache::new(100), Instant::now());
        for n in 1..=1_000 {
            cache.insert(name(n), topic(n), now);
            assert_eq!(cache.get(&name(1), now), Some((topic(1), false)), "used after {n} others");
        }
        assert!(cache.young.len() + cache.old.len() <= 100);
        assert_eq!(cache.get(&name(2), now), None);
        assert_eq!(cache.get(&name(1_000), now), Some((topic(1_000), false)));
        let later = now + TOPIC_OPTIONS_AGE_MAX;
        assert_eq!(cache.get(&name(1), later), Some((topic(1), true)), "its options may have changed");
    }

    #[test]
    fn a_newer_topic_of_the_same_name_is_not_forgotten_for_an_older_one() {
        let mut cache = Cache::new(10);
        let now = Instant::now();
        cache.insert(name(1), topic(2), now);
        cache.remove(&name(1), TopicId(1));
        assert_eq!(cache.get(&name(1), now), Some((topic(2), false)));
        cache.remove(&name(1), TopicId(2));
        assert_eq!(cache.get(&name(1), now), None);
    }
}
