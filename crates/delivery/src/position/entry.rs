//! What can be asked of a position group, as it stands in the Raft log.

use serde::{Deserialize, Serialize};
use trunkline_types::{ConsumerName, FencingToken, Generation, IntervalSet, TopicId, TopicName};

use super::format::{self, Unreadable};
use super::subscription::{DispatcherNode, Options};

/// One entry. Kinds to come are appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Create(Create),
    Acquire(Acquire),
    Commit(Commit),
    Seek(Seek),
    Update(Update),
    Delete(Delete),
}

/// Creates a subscription. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    pub topic_id: TopicId,
    pub topic: TopicName,
    pub consumer: ConsumerName,
    /// As asked for: they are what a repetition is compared with.
    pub options: Options,
    /// What the start asked for was resolved to: the first ID to deliver.
    pub start_id: u64,
}

/// Makes a pop server the dispatcher, if the token is still the one it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    pub topic_id: TopicId,
    pub consumer: ConsumerName,
    pub token_seen: FencingToken,
    pub dispatcher: DispatcherNode,
}

/// Adds acknowledged IDs, or with none of them confirms the token. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub topic_id: TopicId,
    pub consumer: ConsumerName,
    pub instance: u64,
    pub generation: Generation,
    pub token: FencingToken,
    pub acknowledged: IntervalSet,
}

/// Begins a new generation at an ID, if the present one is still the one that was seen. Idempotent by its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seek {
    pub topic_id: TopicId,
    pub consumer: ConsumerName,
    pub instance: u64,
    pub generation_seen: Generation,
    /// Names this seek, however often it is proposed.
    pub number: u64,
    /// What was asked for was resolved to: the first ID to deliver.
    pub start_id: u64,
}

/// Gives a subscription other options, if they are still those that were seen. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub topic_id: TopicId,
    pub consumer: ConsumerName,
    pub instance: u64,
    pub seen: Options,
    /// Where it was asked to begin at creation stays as it is.
    pub options: Options,
}

/// Ends a subscription. Idempotent; one that was created since stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    pub topic_id: TopicId,
    pub consumer: ConsumerName,
    pub instance: u64,
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        format::encode(self)
    }

    /// # Errors
    /// [`Unreadable`] for what [`Entry::encode`] of this version did not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        format::decode(bytes)
    }
}
