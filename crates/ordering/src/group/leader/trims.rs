//! What a leader lets go, once a second: messages beyond what their topic keeps, as far as every datacenter has them;
//! and what was decided to be no message, once every datacenter knows.

use std::collections::BTreeMap;

use trunkline_types::TopicId;
use trunkline_types::limits::{POSITIONS_ASKED_MAX, TRIM_TOPICS_LOOKED_AT, TRIM_TOPICS_MAX};

use super::super::entry::{Entry, Trim, TrimPart};
use super::super::state::State;
use super::super::topics::Topic;
use super::{InFlight, Leader, Proposal};

/// Ticks after which what subscriptions have acknowledged must be asked again.
const ACKNOWLEDGED_TICKS_MAX: u64 = 15;
/// Ticks between two entries that say how far every datacenter knows, while more is decided to be no message.
const EVERYWHERE_TICKS: u64 = 10;

/// What a leader knows for its trims, beside what stores have said.
#[derive(Clone, Debug, Default)]
pub(super) struct Trims {
    ticks: u64,
    /// Topics are looked at in turn: from this one on.
    next: TopicId,
    /// Of topics that keep messages until they are acknowledged: the IDs below are, by every subscription.
    acknowledged: BTreeMap<TopicId, u64>,
    asked_at: u64,
    everywhere_at: u64,
}

impl Leader {
    /// Once a second, after [`Leader::duties`]: what may go. `order_time_ms`: where order time stands; `None`: it
    /// is held, and nothing is trimmed by it.
    pub fn trims(&mut self, state: &State, order_time_ms: Option<u64>) -> Option<Proposal> {
        self.trims.ticks += 1;
        if self.trims.ticks.saturating_sub(self.trims.asked_at) > ACKNOWLEDGED_TICKS_MAX {
            self.trims.acknowledged.clear();
        }
        if self.in_flight.values().any(|what| matches!(what, InFlight::Trim)) {
            return None;
        }
        let topics = order_time_ms.map(|now_ms| self.trimmable_topics(state, now_ms)).unwrap_or_default();
        let everywhere = self.known_everywhere(state);
        if topics.is_empty() && everywhere == 0 {
            return None;
        }
        let order_time_ms = order_time_ms.filter(|_| !topics.is_empty()).unwrap_or(0);
        Some(self.proposal(Entry::Trim(Trim { order_time_ms, everywhere, topics }), InFlight::Trim))
    }

    /// Topics of which something is beyond its age or bytes, and may still be waited for: what all subscriptions have
    /// acknowledged is to be asked.
    pub fn waited_for(&self, state: &State, order_time_ms: u64) -> Vec<TopicId> {
        let waits = |topic: &&Topic| {
            let beyond = topic.older_than(topic.retention.age_ms, order_time_ms).max(self.beyond(topic));
            topic.retention.until_acknowledged_ms > 0 && beyond > topic.trimmed
        };
        state.topics().iter().filter(waits).take(POSITIONS_ASKED_MAX).map(|topic| topic.id).collect()
    }

    /// The IDs below are acknowledged by every subscription of each topic, as every position group has said just now.
    /// (Of topics that are not named that is not known.)
    pub fn acknowledged(&mut self, below: BTreeMap<TopicId, u64>) {
        self.trims.asked_at = self.trims.ticks;
        self.trims.acknowledged = below;
    }

    fn trimmable_topics(&mut self, state: &State, now_ms: u64) -> Vec<TrimPart> {
        let mut parts = Vec::new();
        let (mut looked_at, mut next) = (0, TopicId(0));
        for topic in state.topics().from(self.trims.next) {
            looked_at += 1;
            if looked_at > TRIM_TOPICS_LOOKED_AT || parts.len() >= TRIM_TOPICS_MAX {
                next = topic.id;
                break;
            }
            let below = self.may_go(topic, now_ms);
            if below > topic.trimmed {
                parts.push(TrimPart { topic: topic.id, configured: topic.configured, below });
            }
        }
        if next == TopicId(0) {
            // All were looked at: what was said of topics that are gone is of no use.
            self.sessions.forget_topics(|topic| state.topics().get(topic).is_some());
        }
        self.trims.next = next;
        parts
    }

    /// The messages of a topic below this ID may go.
    fn may_go(&self, topic: &Topic, now_ms: u64) -> u64 {
        let acknowledged = self.trims.acknowledged.get(&topic.id).copied();
        let by_age = topic.aged(now_ms, acknowledged);
        let by_bytes = topic.unless_waited_for(self.beyond(topic), now_ms, acknowledged);
        let below = by_age.max(by_bytes);
        if below <= topic.trimmed {
            return below;
        }
        let readable = |store| self.sessions.topic(store, topic.id).map(|held| held.readable);
        below.min(self.replicas.reached_by_every_datacenter(topic.id.bucket(), readable))
    }

    /// What is beyond the bytes that a topic keeps, as every datacenter counts them.
    fn beyond(&self, topic: &Topic) -> u64 {
        if topic.retention.bytes == 0 {
            return 1;
        }
        let beyond = |store| self.sessions.topic(store, topic.id).map(|held| held.beyond);
        self.replicas.reached_by_every_datacenter(topic.id.bucket(), beyond)
    }

    /// How far every datacenter has the facts on disk, where something waits for that; else 0.
    fn known_everywhere(&mut self, state: &State) -> u64 {
        let Some(last) = state.gone().waits_for() else { return 0 };
        let index = |store| self.sessions.facts_index(store);
        let known =
            self.replicas.buckets().map(|bucket| self.replicas.reached_by_every_datacenter(bucket, index));
        let known = known.min().unwrap_or(0).min(last);
        let is_due = known == last || self.trims.ticks >= self.trims.everywhere_at + EVERYWHERE_TICKS;
        if known <= state.gone().everywhere() || !is_due {
            return 0;
        }
        self.trims.everywhere_at = self.trims.ticks;
        known
    }
}
