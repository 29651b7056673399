//! What is remembered of one subscription.

use serde::{Deserialize, Serialize};
use trunkline_types::{ConsumerName, FencingToken, Generation, IntervalSet, NodeId, TopicId, TopicName};

use super::entry::Create;

/// Where a subscription was asked to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    Latest,
    Earliest,
    /// At this ID.
    Id(u64),
    /// At the first message that was ordered at this time or later, in milliseconds since 1970.
    Time(u64),
}

/// How deliveries are acknowledged. Modes to come are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AckMode {
    /// By the next Pop of the same client, or by Ack.
    OnNextPop,
}

/// As asked for at creation, or since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub start: Start,
    pub ack_mode: AckMode,
    /// Milliseconds after which an unacknowledged delivery comes again.
    pub ack_deadline_ms: u32,
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
    /// The first ID to deliver, of this generation.
    pub start_id: u64,
    /// Exactly the acknowledged IDs from `start_id` on.
    pub acknowledged: IntervalSet,
    pub dispatcher: Option<DispatcherNode>,
    /// Counts dispatchers; 0 until the first. A seek counts as one, too: who dispatched until then does so no more.
    pub token: FencingToken,
    /// Counts changes of the options.
    pub revision: u64,
    /// Which seek began this generation; 0 before the first.
    pub last_seek: u64,
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
            revision: 0,
            last_seek: 0,
        }
    }

    /// A new generation: nothing of it is acknowledged, and nobody dispatches it yet. Returns who did until now.
    pub(super) fn begin_again(&mut self, start_id: u64, seek: u64) -> Option<DispatcherNode> {
        self.generation = Generation(self.generation.0 + 1);
        (self.start_id, self.last_seek) = (start_id.max(1), seek);
        self.acknowledged = IntervalSet::new();
        self.token = FencingToken(self.token.0 + 1);
        self.dispatcher.take()
    }

    /// The highest ID with all IDs up to it acknowledged.
    pub fn position(&self) -> u64 {
        self.acknowledged.first_missing(self.start_id) - 1
    }

    pub(super) fn is_current(&self, instance: u64, generation: Generation, token: FencingToken) -> bool {
        (self.instance, self.generation, self.token) == (instance, generation, token)
    }
}
