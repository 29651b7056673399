//! Who has pushed what with a sequence: what the facts have decided, and what this coordinator has appended since. The
//! group decides what is a duplicate; this is for bounds, and for a word beforehand.

use std::collections::BTreeMap;

use thiserror::Error;
use trunkline_types::limits::{PRODUCER_RANGES_MAX, PRODUCERS_PER_STORE_MAX, PRODUCERS_PER_TOPIC_MAX};
use trunkline_types::{IntervalSet, Produced, ProducerId, TopicId};

/// What is known of one producer in one topic.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Has IDs, by facts that were taken.
    decided: IntervalSet,
    /// Appended here by this process and not decided yet.
    appended: IntervalSet,
}

/// All producers that this store knows.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    topics: BTreeMap<TopicId, BTreeMap<ProducerId, Known>>,
    count: usize,
}

/// A bound that a record would exceed. Nothing is ever forgotten, and no gap is closed, to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error(
        "the producer's sequences in this topic are {PRODUCER_RANGES_MAX} ranges, as many as are allowed: fill a gap \
         between them, or go on as another producer"
    )]
    Ranges,
    #[error("the topic has {PRODUCERS_PER_TOPIC_MAX} producers, as many as are allowed")]
    Topic,
    #[error("the store knows {PRODUCERS_PER_STORE_MAX} producers, as many as are allowed")]
    Store,
}

impl Producers {
    fn get(&self, topic: TopicId, producer: &ProducerId) -> Option<&Known> {
        self.topics.get(&topic)?.get(producer)
    }

    fn known(&mut self, topic: TopicId, producer: ProducerId) -> &mut Known {
        let of = self.topics.entry(topic).or_default();
        let before = of.len();
        of.entry(producer).or_default();
        self.count += of.len() - before;
        of.get_mut(&producer).expect("it is there since")
    }

    /// How many there are, of all topics.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether one more record may be stored.
    ///
    /// # Errors
    /// [`Unfit`]: the bound that it would exceed.
    pub fn check(&self, topic: TopicId, of: &Produced) -> Result<(), Unfit> {
        let Some(known) = self.get(topic, &of.producer) else {
            let here = self.topics.get(&topic).map_or(0, BTreeMap::len);
            return match () {
                () if here >= PRODUCERS_PER_TOPIC_MAX => Err(Unfit::Topic),
                () if self.count >= PRODUCERS_PER_STORE_MAX => Err(Unfit::Store),
                () => Ok(()),
            };
        };
        let ranges = known.decided.range_count() + known.appended.range_count();
        let is_next_to_some = [&known.decided, &known.appended].iter().any(|set| {
            set.contains(of.sequence) || set.contains(of.sequence - 1) || set.contains(of.sequence + 1)
        });
        if ranges < PRODUCER_RANGES_MAX || is_next_to_some { Ok(()) } else { Err(Unfit::Ranges) }
    }

    /// This coordinator has appended a record. True if it is a duplicate already, by the facts.
    pub fn appended(&mut self, topic: TopicId, of: &Produced) -> bool {
        let known = self.known(topic, of.producer);
        let is_decided = known.decided.contains(of.sequence);
        if !is_decided {
            known.appended.insert(of.sequence..of.sequence + 1);
        }
        is_decided
    }

    /// The facts give IDs to so many from `first` on, or, being duplicates, none.
    pub fn decided(&mut self, topic: TopicId, first: Produced, count: u64) {
        let known = self.known(topic, first.producer);
        let range = first.sequence..first.sequence + count;
        known.appended.remove(range.clone());
        known.decided.insert(range);
    }

    /// The sequences of a producer that have IDs.
    pub fn sequences(&self, topic: TopicId, producer: &ProducerId) -> Option<&IntervalSet> {
        self.get(topic, producer).map(|known| &known.decided)
    }

    /// By the facts, what it has pushed is not remembered any more; what waits to be decided is.
    pub fn forget(&mut self, topic: TopicId, producer: &ProducerId) {
        let Some(of) = self.topics.get_mut(&topic) else { return };
        let Some(known) = of.get_mut(producer) else { return };
        known.decided = IntervalSet::new();
        if known.appended.is_empty() {
            of.remove(producer);
            self.count -= 1;
        }
        if of.is_empty() {
            self.topics.remove(&topic);
        }
    }

    /// The same of all producers of a topic: which they were.
    pub fn forget_all(&mut self, topic: TopicId) -> Vec<ProducerId> {
        let of = self.topics.get(&topic);
        let all: Vec<ProducerId> = of.into_iter().flat_map(BTreeMap::keys).copied().collect();
        all.iter().for_each(|producer| self.forget(topic, producer));
        all
    }

    /// The topic is deleted.
    pub fn delete(&mut self, topic: TopicId) {
        self.count -= self.topics.remove(&topic).map_or(0, |of| of.len());
    }

    /// As found on disk.
    pub fn recover(&mut self, topic: TopicId, producer: ProducerId, sequences: IntervalSet) {
        self.known(topic, producer).decided = sequences;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId(1 << 16);
    const OTHER: TopicId = TopicId(2 << 16);

    fn of(producer: u64, sequence: u64) -> Produced {
        Produced { producer: ProducerId(u128::from(producer).to_be_bytes()), sequence }
    }

    #[test]
    fn a_duplicate_is_known_beforehand_only_from_the_facts() {
        let mut producers = Producers::default();
        assert!(!producers.appended(TOPIC, &of(1, 2)));
        assert!(!producers.appended(TOPIC, &of(1, 2)), "which of the two is decided first, nobody knows");
        producers.decided(TOPIC, of(1, 1), 2);
        for (topic, produced, duplicate) in [
            (TOPIC, of(1, 1), true),
            (TOPIC, of(1, 3), false),
            (TOPIC, of(2, 1), false),
            (OTHER, of(1, 1), false),
        ] {
            assert_eq!(producers.appended(topic, &produced), duplicate, "{topic} {produced:?}");
        }
    }

    #[test]
    fn a_producer_with_too_many_gaps_may_fill_them_and_open_no_other() {
        let mut producers = Producers::default();
        let max = PRODUCER_RANGES_MAX as u64;
        for nth in 0..max {
            let odd = of(1, 2 * nth + 1);
            assert_eq!(producers.check(TOPIC, &odd), Ok(()));
            if nth % 2 == 0 {
                producers.appended(TOPIC, &odd);
            } else {
                producers.decided(TOPIC, odd, 1);
            }
        }
        for (sequence, expected) in [
            (1, Ok(())),
            (2, Ok(())),
            (2 * max, Ok(())),
            (2 * max + 1, Err(Unfit::Ranges)),
            (9 * max, Err(Unfit::Ranges)),
        ] {
            assert_eq!(producers.check(TOPIC, &of(1, sequence)), expected, "{sequence}");
        }
        assert_eq!(producers.check(TOPIC, &of(2, 9 * max)), Ok(()), "another producer");
        producers.decided(TOPIC, of(1, 1), 2 * max);
        assert_eq!(producers.check(TOPIC, &of(1, 9 * max)), Ok(()), "the gaps are filled");
        assert_eq!(producers.sequences(TOPIC, &of(1, 1).producer).map(IntervalSet::range_count), Some(1));
    }

    #[test]
    fn a_topic_with_too_many_producers_takes_no_further_one_until_some_are_forgotten() {
        let mut producers = Producers::default();
        for nth in 0..PRODUCERS_PER_TOPIC_MAX as u64 {
            let first = of(nth, 1);
            assert_eq!(producers.check(TOPIC, &first), Ok(()));
            producers.decided(TOPIC, first, 1);
        }
        let next = of(u64::MAX, 1);
        assert_eq!(producers.check(TOPIC, &next), Err(Unfit::Topic));
        assert_eq!((producers.check(TOPIC, &of(7, 2)), producers.check(OTHER, &next)), (Ok(()), Ok(())));
        producers.forget(TOPIC, &of(7, 1).producer);
        assert_eq!((producers.check(TOPIC, &next), producers.count()), (Ok(()), PRODUCERS_PER_TOPIC_MAX - 1));
        producers.delete(TOPIC);
        assert_eq!(producers.count(), 0);
    }

    #[test]
    fn what_waits_to_be_decided_outlives_that_its_producer_is_forgotten() {
        let mut producers = Producers::default();
        producers.decided(TOPIC, of(1, 1), 1);
        producers.appended(TOPIC, &of(1, 5));
        producers.forget(TOPIC, &of(1, 1).producer);
        assert_eq!(producers.count(), 1);
        assert!(!producers.appended(TOPIC, &of(1, 1)));
        producers.decided(TOPIC, of(1, 5), 1);
        producers.decided(TOPIC, of(1, 1), 1);
        producers.forget(TOPIC, &of(1, 1).producer);
        assert_eq!(producers.count(), 0);
    }
}
