//! The topics of a group: names, ids, next message IDs.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use trunkline_types::limits::TOPICS_PER_GROUP_MAX;
use trunkline_types::{Bucket, TopicId};

use super::retention::{Ages, Retention};

/// A live topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    /// Opaque: equal bytes are equal options.
    pub options: Arc<[u8]>,
    /// The message ID that the next record gets.
    pub next_id: u64,
    pub retention: Retention,
    /// The index that last gave it options: what is proposed under others is refused.
    pub configured: u64,
    /// The first message ID that is still there.
    pub trimmed: u64,
    /// Order time when it last gave IDs.
    pub last_ms: u64,
    /// Which of its IDs are how old, at most as old as it keeps messages.
    pub ages: Ages,
}

impl Topic {
    /// The IDs below it are all at least so old, at this order time.
    pub fn older_than(&self, age_ms: u64, order_time_ms: u64) -> u64 {
        match order_time_ms.checked_sub(age_ms) {
            Some(by) if by >= self.last_ms => self.next_id,
            Some(by) => self.ages.given_by(by),
            None => 1,
        }
    }
}

/// Live topics by id and by name. A deleted topic leaves nothing but the counter, which its id never exceeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// Topics ever created; the last one's counter.
    counter: u64,
    by_id: BTreeMap<TopicId, Topic>,
    by_name: BTreeMap<Arc<str>, TopicId>,
}

/// What becomes of records of a topic id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Live,
    /// At or below the counter and not live.
    Deleted,
    /// Above the counter: it may be created yet.
    Unknown,
}

/// No more topics fit into this group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Topics {
    pub fn counter(&self) -> u64 {
        self.counter
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        self.by_id.get(&id)
    }

    pub fn named(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name).and_then(|id| self.by_id.get(id))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Topic> + '_ {
        self.by_id.values()
    }

    pub fn standing(&self, id: TopicId) -> Standing {
        if id.counter() > self.counter {
            Standing::Unknown
        } else if self.by_id.contains_key(&id) {
            Standing::Live
        } else {
            Standing::Deleted
        }
    }

    /// Whether there was such a topic and it is deleted, as far as the counter tells: certainly not if a live topic has
    /// it in another bucket.
    pub fn was_deleted(&self, id: TopicId) -> bool {
        let (first, last) =
            (TopicId::new(id.counter(), Bucket(0)), TopicId::new(id.counter(), Bucket(u16::MAX)));
        let taken = self.by_id.range(first..=last).next().is_some();
        self.standing(id) == Standing::Deleted && id.counter() > 0 && !taken
    }

    /// Live topics by name, bytewise: those above `after` that begin with `prefix`.
    pub fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = &'a Topic> + 'a {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let named = self.by_name.range::<str, _>((from, Bound::Unbounded));
        named.take_while(move |(name, _)| name.starts_with(prefix)).filter_map(|(_, id)| self.by_id.get(id))
    }

    /// The name must be free; the caller has looked.
    pub(super) fn create(
        &mut self,
        index: u64,
        bucket: Bucket,
        name: &str,
        options: &[u8],
        retention: Retention,
    ) -> Result<&Topic, TooMany> {
        if self.by_id.len() >= TOPICS_PER_GROUP_MAX {
            return Err(TooMany);
        }
        self.counter += 1;
        let id = TopicId::new(self.counter, bucket);
        let name: Arc<str> = name.into();
        self.by_name.insert(name.clone(), id);
        let topic = Topic {
            id,
            name,
            options: options.into(),
            next_id: 1,
            retention,
            configured: index,
            trimmed: 1,
            last_ms: 0,
            ages: Ages::default(),
        };
        Ok(self.by_id.entry(id).or_insert(topic))
    }

    pub(super) fn get_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.by_id.get_mut(&id)
    }

    /// Topics from `id` on, in the order of their ids.
    pub fn from(&self, id: TopicId) -> impl Iterator<Item = &Topic> + '_ {
        self.by_id.range(id..).map(|(_, topic)| topic)
    }

    /// False: it was not live.
    pub(super) fn delete(&mut self, id: TopicId) -> bool {
        let Some(topic) = self.by_id.remove(&id) else { return false };
        self.by_name.remove(&topic.name);
        true
    }

    /// Gives `count` IDs at this order time; the first one. `None`: the topic is not live.
    pub(super) fn take_ids(&mut self, id: TopicId, count: u64, order_time_ms: u64) -> Option<u64> {
        let topic = self.by_id.get_mut(&id)?;
        let first = topic.next_id;
        if order_time_ms > topic.last_ms {
            topic.ages.note(topic.last_ms, first, topic.retention.age_ms);
            topic.last_ms = order_time_ms;
        }
        topic.next_id += count;
        Some(first)
    }

    /// From a snapshot.
    pub(super) fn from_parts(counter: u64, topics: impl IntoIterator<Item = Topic>) -> Self {
        let by_id: BTreeMap<TopicId, Topic> = topics.into_iter().map(|topic| (topic.id, topic)).collect();
        let by_name = by_id.values().map(|topic| (topic.name.clone(), topic.id)).collect();
        Self { counter, by_id, by_name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(topics: &Topics, prefix: &str, after: &str) -> Vec<String> {
        topics.list(prefix, after).map(|topic| topic.name.to_string()).collect()
    }

    #[test]
    fn topics_are_listed_by_name_bytewise_from_a_place_and_by_prefix() {
        let mut topics = Topics::default();
        for name in ["b", "a.2", "Z", "a.1", "a"] {
            topics.create(1, Bucket(1), name, &[], Retention::default()).unwrap();
        }
        assert_eq!(names(&topics, "", ""), ["Z", "a", "a.1", "a.2", "b"]);
        assert_eq!(names(&topics, "a.", ""), ["a.1", "a.2"]);
        assert_eq!(names(&topics, "a.", "a.1"), ["a.2"]);
        assert_eq!(names(&topics, "", "a.2"), ["b"]);
        assert_eq!(names(&topics, "a", "b"), [""; 0]);
    }

    #[test]
    fn an_id_above_the_counter_is_unknown_and_one_below_that_is_not_live_is_deleted() {
        let mut topics = Topics::default();
        let id = topics.create(1, Bucket(1), "a", &[], Retention::default()).unwrap().id;
        assert_eq!(topics.standing(id), Standing::Live);
        assert_eq!(topics.standing(TopicId::new(2, Bucket(1))), Standing::Unknown);
        assert!(topics.delete(id) && !topics.delete(id));
        assert_eq!(topics.standing(id), Standing::Deleted);
        assert!(topics.was_deleted(id) && !topics.was_deleted(TopicId::new(2, Bucket(1))));
        let again = topics.create(1, Bucket(1), "a", &[], Retention::default()).unwrap().id;
        assert_ne!(again, id, "created again it is another topic");
        let (forged, none) = (TopicId::new(again.counter(), Bucket(9)), TopicId::new(0, Bucket(1)));
        for id in [again, forged, none] {
            assert!(!topics.was_deleted(id), "no topic {id} was deleted");
        }
        assert_eq!(topics.take_ids(id, 1, 0), None);
    }
}
