//! What can be asked of a position group, as it stands in the Raft log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunkline_types::{ConsumerName, FencingToken, Generation, IntervalSet, TopicId, TopicName};

use super::format::{self, Unreadable};
use super::subscription::{Counts, DispatcherNode, Options};

/// One entry. Kinds to come (seek, update, delete) are appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Create(Create),
    Acquire(Acquire),
    Commit(Commit),
    /// The topic is deleted, which is final: its subscriptions end.
    TopicDeleted(TopicId),
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
    /// Of messages that nobody has acknowledged: replaces what was known of them.
    pub counts: BTreeMap<u64, Counts>,
    /// Reserved for ack mode IMMEDIATE and not handed out: acknowledged no more. Only in the last commit under a token.
    pub given_back: IntervalSet,
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
