//! Which messages of which producers were decided: per topic and producer an exact set of sequences, whatever IDs they
//! got. Here, and nowhere else, a repeated (producer, sequence) is told from a new one.
//!
//! **Invariant** (I6): never a high-water mark, for a straggler with a lower sequence is new; and a producer is forgotten
//! only by an entry.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use trunkline_types::limits::{PRODUCER_KEPT_MIN, PRODUCER_SEQUENCE_MAX};
use trunkline_types::{IntervalSet, Produced, ProducerId, TopicId};

use super::entry::ProducerReference;

/// What one producer has pushed to one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    /// Those with an ID.
    pub sequences: IntervalSet,
    pub last: LastPush,
}

/// When something of a producer was decided last, a duplicate or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastPush {
    pub index: u64,
    pub order_time_ms: u64,
}

impl LastPush {
    /// Whether that is so long ago that it need not be remembered, where messages are kept for `age_ms`.
    pub fn is_over(&self, order_time_ms: u64, age_ms: u64) -> bool {
        let kept = u64::try_from(PRODUCER_KEPT_MIN.as_millis()).unwrap_or(u64::MAX).max(age_ms);
        order_time_ms >= self.order_time_ms.saturating_add(kept)
    }
}

/// The producers of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfTopic {
    /// The last short number given; never given again.
    pub(super) last_number: u32,
    pub(super) known: BTreeMap<u32, Producer>,
    numbers: BTreeMap<ProducerId, u32>,
}

/// The producers of a group's live topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    topics: BTreeMap<TopicId, OfTopic>,
}

impl Producers {
    /// The short number of a producer.
    pub fn number(&self, topic: TopicId, producer: &ProducerId) -> Option<u32> {
        self.topics.get(&topic)?.numbers.get(producer).copied()
    }

    pub fn get(&self, topic: TopicId, number: u32) -> Option<&Producer> {
        self.topics.get(&topic)?.known.get(&number)
    }

    /// (number, producer) of a topic, by number.
    pub fn of(&self, topic: TopicId) -> impl Iterator<Item = (u32, &Producer)> + '_ {
        self.topics
            .get(&topic)
            .into_iter()
            .flat_map(|of| of.known.iter().map(|(&number, known)| (number, known)))
    }

    /// Those behind a (topic, number), in that order.
    pub fn after(&self, last: (TopicId, u32)) -> impl Iterator<Item = ((TopicId, u32), &Producer)> + '_ {
        let topics = self.topics.range(last.0..);
        topics.flat_map(move |(&topic, of)| {
            let from = if topic == last.0 { Bound::Excluded(last.1) } else { Bound::Unbounded };
            let known = of.known.range((from, Bound::Unbounded));
            known.map(move |(&number, producer)| ((topic, number), producer))
        })
    }

    /// Whether the message has an ID.
    pub fn is_decided(&self, topic: TopicId, of: &Produced) -> bool {
        let producer = self.number(topic, &of.producer).and_then(|number| self.get(topic, number));
        producer.is_some_and(|known| known.sequences.contains(of.sequence))
    }

    /// Who is meant; `None` for a number that stands for nobody: never given, or forgotten.
    pub(super) fn resolve(&self, topic: TopicId, producer: ProducerReference) -> Option<ProducerId> {
        match producer {
            ProducerReference::Id(id) => Some(id),
            ProducerReference::Number(number) => self.get(topic, number).map(|known| known.id),
        }
    }

    /// Of so many consecutive sequences from `first` on: (how many, whether they are new), in order, at most
    /// `pieces_max`. Remembers those that are new.
    pub(super) fn take(
        &mut self,
        topic: TopicId,
        first: Produced,
        count: u64,
        pieces_max: usize,
        now: LastPush,
    ) -> Vec<(u64, bool)> {
        let of = self.topics.entry(topic).or_default();
        let number = *of.numbers.entry(first.producer).or_insert_with(|| {
            of.last_number += 1;
            of.last_number
        });
        let new = || Producer { id: first.producer, sequences: IntervalSet::new(), last: now };
        let known = of.known.entry(number).or_insert_with(new);
        known.last = now;
        let mut pieces = pieces(&known.sequences, first.sequence..first.sequence + count);
        pieces.truncate(pieces_max);
        let mut at = first.sequence;
        for &(count, is_new) in &pieces {
            if is_new {
                known.sequences.insert(at..at + count);
            }
            at += count;
        }
        pieces
    }

    /// Forgets one that has not pushed since `index` and was silent for long enough; who it was.
    pub(super) fn forget(
        &mut self,
        topic: TopicId,
        number: u32,
        index: u64,
        order_time_ms: u64,
        age_ms: u64,
    ) -> Option<ProducerId> {
        let of = self.topics.get_mut(&topic)?;
        let known = of.known.get(&number)?;
        if known.last.index != index || !known.last.is_over(order_time_ms, age_ms) {
            return None;
        }
        let id = known.id;
        of.known.remove(&number);
        of.numbers.remove(&id);
        Some(id)
    }

    /// The topic is deleted.
    pub(super) fn delete(&mut self, topic: TopicId) {
        self.topics.remove(&topic);
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (TopicId, &OfTopic)> + '_ {
        self.topics.iter().map(|(&topic, of)| (topic, of))
    }

    /// From a snapshot.
    pub(super) fn restore(&mut self, topic: TopicId, last_number: u32, known: BTreeMap<u32, Producer>) {
        let numbers = known.iter().map(|(&number, producer)| (producer.id, number)).collect();
        self.topics.insert(topic, OfTopic { last_number, known, numbers });
    }
}

/// Whether a producer may call so many messages from here on.
pub(super) fn fits(first: Produced, count: u64) -> bool {
    let last = first.sequence.checked_add(count - 1);
    first.sequence > 0 && last.is_some_and(|last| last <= PRODUCER_SEQUENCE_MAX)
}

/// What of a range is in the set and what is not: (how many, whether they are missing), in order.
fn pieces(known: &IntervalSet, range: Range<u64>) -> Vec<(u64, bool)> {
    let mut pieces = Vec::new();
    let mut at = range.start;
    for gap in known.missing(range.clone()) {
        if gap.start > at {
            pieces.push((gap.start - at, false));
        }
        pieces.push((gap.end - gap.start, true));
        at = gap.end;
    }
    if range.end > at {
        pieces.push((range.end - at, false));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use trunkline_types::Bucket;

    use super::*;

    const TOPIC: TopicId = TopicId(1 << 16 | 3);
    const KEPT: u64 = PRODUCER_KEPT_MIN.as_millis() as u64;

    fn of(producer: u8, sequence: u64) -> Produced {
        Produced { producer: ProducerId([producer; 16]), sequence }
    }

    fn at(index: u64, order_time_ms: u64) -> LastPush {
        LastPush { index, order_time_ms }
    }

    #[test]
    fn of_each_sequence_the_first_is_new_whatever_came_before_it() {
        let mut producers = Producers::default();
        // (producer, first sequence, how many; how many are new or not, in order)
        type Row = (u8, u64, u64, &'static [(u64, bool)]);
        let rows: [Row; 8] = [
            (1, 5, 2, &[(2, true)]),
            (1, 1, 1, &[(1, true)]),
            (1, 5, 1, &[(1, false)]),
            (2, 5, 1, &[(1, true)]),
            (1, 1, 8, &[(1, false), (3, true), (2, false), (2, true)]),
            (1, 1, 8, &[(8, false)]),
            (1, PRODUCER_SEQUENCE_MAX, 1, &[(1, true)]),
            (1, 8, 2, &[(1, false), (1, true)]),
        ];
        for (producer, first, count, expected) in rows {
            assert_eq!(producers.take(TOPIC, of(producer, first), count, 9, at(1, 1)), expected, "{first}");
        }
        let ranges = |number| producers.get(TOPIC, number).map(|known| known.sequences.range_count());
        assert_eq!((ranges(1), ranges(2), ranges(3)), (Some(2), Some(1), None));
        assert!(producers.is_decided(TOPIC, &of(1, 9)) && !producers.is_decided(TOPIC, &of(1, 10)));
        assert!(!producers.is_decided(TopicId::new(2, Bucket(3)), &of(1, 9)), "another topic");
    }

    #[test]
    fn what_does_not_fit_is_not_remembered() {
        let mut producers = Producers::default();
        producers.take(TOPIC, of(1, 3), 1, 9, at(1, 1));
        assert_eq!(producers.take(TOPIC, of(1, 1), 5, 2, at(1, 1)), [(2, true), (1, false)]);
        assert!(!producers.is_decided(TOPIC, &of(1, 4)));
        assert!(fits(of(1, 1), 1) && fits(of(1, PRODUCER_SEQUENCE_MAX), 1));
        for (first, count) in [(0, 1), (PRODUCER_SEQUENCE_MAX, 2), (u64::MAX, 2), (1, u64::MAX)] {
            assert!(!fits(of(1, first), count), "{first}, {count}");
        }
    }

    #[test]
    fn a_producer_is_forgotten_when_it_was_silent_for_long_and_its_number_is_never_given_again() {
        let mut producers = Producers::default();
        producers.take(TOPIC, of(1, 1), 1, 9, at(4, 1_000));
        producers.take(TOPIC, of(1, 1), 1, 9, at(5, 2_000));
        for (number, index, now) in [(1, 5, 1_999 + KEPT), (1, 4, 2_000 + KEPT), (2, 5, 2_000 + KEPT)] {
            assert_eq!(producers.forget(TOPIC, number, index, now, 0), None, "{number}, {index}, {now}");
        }
        assert_eq!(
            producers.forget(TOPIC, 1, 5, 2_000 + KEPT, KEPT + 1),
            None,
            "messages are kept for longer"
        );
        assert_eq!(producers.forget(TOPIC, 1, 5, 2_000 + KEPT, 0), Some(ProducerId([1; 16])));
        assert_eq!(producers.number(TOPIC, &ProducerId([1; 16])), None);
        assert_eq!(producers.resolve(TOPIC, ProducerReference::Number(1)), None);
        assert_eq!(producers.take(TOPIC, of(1, 1), 1, 9, at(9, 9)), [(1, true)]);
        assert_eq!(producers.number(TOPIC, &ProducerId([1; 16])), Some(2));
    }

    #[test]
    fn all_producers_come_in_turn() {
        let mut producers = Producers::default();
        let other = TopicId::new(2, Bucket(3));
        for (topic, producer) in [(TOPIC, 1), (TOPIC, 2), (other, 1)] {
            producers.take(topic, of(producer, 1), 1, 9, at(1, 1));
        }
        let after = |last| producers.after(last).map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(after((TopicId(0), 0)), [(TOPIC, 1), (TOPIC, 2), (other, 1)]);
        assert_eq!(after((TOPIC, 1)), [(TOPIC, 2), (other, 1)]);
        assert_eq!(after((other, 1)), []);
    }
}
