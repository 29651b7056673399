//! What comes of an entry, for its proposer.

use serde::{Deserialize, Serialize};

use super::format::{self, Unreadable};
use super::subscription::Subscription;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Created(Box<Subscription>),
    /// It was there, with the same options.
    Existing(Box<Subscription>),
    /// It was there, with other options.
    Differs(Box<Subscription>),
    /// The group has as many subscriptions as it may have: nothing was done.
    Full,
    Acquired(Box<Subscription>),
    /// The token is not the one that was seen: nothing was done, and this is who has it.
    Overtaken(Box<Subscription>),
    Committed,
    /// Instance, generation or token are not the present ones: nothing was done.
    Refused(Box<Subscription>),
    /// More ranges than a subscription may have: nothing was done.
    TooManyRanges,
    /// There is no such subscription: nothing was done.
    NotFound,
    /// So many subscriptions have ended with their topic.
    Ended(usize),
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        format::encode(self)
    }

    /// # Errors
    /// [`Unreadable`] for what [`Answer::encode`] of this version did not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        format::decode(bytes)
    }
}
