//! What is remembered of one subscription.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunkline_types::limits::DELIVERY_COUNTS_MAX;
use trunkline_types::{ConsumerName, FencingToken, Generation, IntervalSet, NodeId, TopicId, TopicName};

use super::entry::Create;

/// Where a subscription was asked to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    Latest,
    Earliest,
    /// At this ID.
    Id(u64),
}

/// How deliveries are acknowledged. Modes to come are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AckMode {
    /// By the next Pop of the same client, or by Ack.
    OnNextPop,
    /// By Ack.
    Explicit,
    /// Before they leave: at most once.
    Immediate,
}

/// After how long a message that was given back, or whose ack deadline has passed, comes again: doubled each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    pub min_ms: u32,
    /// At least `min_ms`.
    pub max_ms: u32,
}

/// Where messages go that nobody could process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub topic: TopicName,
    /// After so many deliveries without an acknowledgement; at least 1.
    pub attempts_max: u32,
}

/// How often a message was delivered in vain, as far as a nack, an ack deadline or the end of a client has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub deliveries: u32,
    /// Of those, given back by the client.
    pub nacks: u32,
}

/// As asked for at creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub start: Start,
    pub ack_mode: AckMode,
    /// Milliseconds after which an unacknowledged delivery comes again.
    pub ack_deadline_ms: u32,
    pub retry: Retry,
    pub dead_letter: Option<DeadLetter>,
}

/// The pop server that dispatches a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatcherNode {
    /// Fresh at each start of a pop server: one that was started again is another.
    pub node: NodeId,
    pub datacenter: String,
    /// `HOST:PORT` of its internal listener.
    pub address: String,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub topic_id: TopicId,
    pub topic: TopicName,
    pub consumer: ConsumerName,
    /// Which creation of (topic, consumer) this is: the Raft index that created it.
    pub instance: u64,
    pub options: Options,
    /// Counts seeks; 0 until the first.
    pub generation: Generation,
    /// The first ID to deliver.
    pub start_id: u64,
    /// Exactly the acknowledged IDs from `start_id` on.
    pub acknowledged: IntervalSet,
    pub dispatcher: Option<DispatcherNode>,
    /// Counts dispatchers; 0 until the first.
    pub token: FencingToken,
    /// Of messages that are not acknowledged; bounded.
    pub counts: BTreeMap<u64, Counts>,
}

impl Subscription {
    pub(super) fn created(index: u64, create: Create) -> Self {
        Self {
            topic_id: create.topic_id,
            topic: create.topic,
            consumer: create.consumer,
            instance: index,
            options: create.options,
            generation: Generation(0),
            start_id: create.start_id.max(1),
            acknowledged: IntervalSet::new(),
            dispatcher: None,
            token: FencingToken(0),
            counts: BTreeMap::new(),
        }
    }

    /// The highest ID with all IDs up to it acknowledged.
    pub fn position(&self) -> u64 {
        self.acknowledged.first_missing(self.start_id) - 1
    }

    /// Takes newer counts over the older, and keeps those of messages that are still to be acknowledged.
    pub(super) fn count(&mut self, newer: BTreeMap<u64, Counts>) {
        self.counts.extend(newer);
        self.counts.retain(|&id, _| id >= self.start_id && !self.acknowledged.contains(id));
        // The lowest are those that hold the position back.
        while self.counts.len() > DELIVERY_COUNTS_MAX {
            self.counts.pop_last();
        }
    }

    pub(super) fn is_current(&self, instance: u64, generation: Generation, token: FencingToken) -> bool {
        (self.instance, self.generation, self.token) == (instance, generation, token)
    }
}
