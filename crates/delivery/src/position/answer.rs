//! What comes of an entry, for its proposer.

use serde::{Deserialize, Serialize};

use super::format::{self, Unreadable};
use super::subscription::{DispatcherNode, Subscription};

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
    /// By this entry, or by an earlier one of the same number. `deposed` dispatched it until now.
    Sought {
        subscription: Box<Subscription>,
        deposed: Option<DispatcherNode>,
    },
    /// It has these options.
    Updated(Box<Subscription>),
    /// It is not as the proposer has seen it: nothing was done, and this is how it is.
    Changed(Box<Subscription>),
    /// `deposed` dispatched it until now.
    Deleted {
        deposed: Option<DispatcherNode>,
    },
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
