//! What a dispatcher is told, and what it wants done.

use std::collections::BTreeMap;

use trunkline_types::IntervalSet;

use super::keys::Share;
use super::outstanding::Client;
use super::token::{DeliveryToken, NoticeToken, Token};
use crate::position::Counts;

/// A client's Pop.
#[derive(Clone, Debug)]
pub struct Pop {
    /// Chosen by the driver, never used twice.
    pub number: u64,
    pub client: Client,
    /// What it acknowledges.
    pub echoed: Vec<Token>,
    /// Only these keys.
    pub share: Option<Share>,
    /// Of a Consume stream: counts the answers that have come to it. What it was given by a pop of the same round it has
    /// not got: it comes first again.
    pub round: u64,
    /// At least 1.
    pub messages_max: u64,
    /// The first message comes whatever its size.
    pub bytes_max: u64,
    /// An empty answer is given from here on.
    pub wait_until_ms: u64,
    /// An answer must be given until here; not before `wait_until_ms`.
    pub deadline_ms: u64,
    /// Count what it acknowledges, but hand out nothing any more: dispatch moves to its caller.
    pub releases: bool,
}

/// What a dispatcher is told. `M` is a message.
#[derive(Clone, Debug)]
pub enum Event<M> {
    Pop(Pop),
    Ack {
        /// Chosen by the driver, never used twice.
        ack: u64,
        tokens: Vec<Token>,
        deadline_ms: u64,
    },
    /// Deliveries are given back: each comes again after the delay, or after the subscription's.
    Nack {
        /// As in [`Event::Ack`]; answered like that, at once.
        ack: u64,
        tokens: Vec<(Token, Option<u64>)>,
    },
    /// Deliveries have until then.
    Extend {
        /// As in [`Event::Ack`]; answered like that, at once.
        ack: u64,
        tokens: Vec<(Token, u64)>,
    },
    /// A client is gone: what it has comes again.
    Left {
        client: Client,
    },
    /// The callers of these Pops, which wait, are gone.
    Abandoned {
        pops: Vec<u64>,
    },
    /// An answer that could not be given, for its caller was gone.
    TakenBack {
        deliveries: Vec<DeliveryToken>,
        expired: Vec<NoticeToken>,
    },
    /// It is in the dead letter topic.
    Moved {
        id: u64,
    },
    MoveFailed {
        id: u64,
        retry_ms: u64,
    },
    /// What a read brought: consecutive messages, or none.
    Read {
        number: u64,
        first_id: u64,
        messages: Vec<M>,
        /// Whether the store has more after these.
        more: bool,
        /// The first ID that is still there.
        earliest: u64,
    },
    ReadFailed {
        number: u64,
        retry_ms: u64,
        /// This ID is corrupt on every replica.
        damaged: Option<u64>,
    },
    Committed {
        number: u64,
    },
    /// Not proposed, or of unknown outcome.
    CommitFailed {
        number: u64,
        retry_ms: u64,
    },
    /// The fencing token is not the present one.
    CommitRefused {
        number: u64,
    },
    /// Commit what there is and end: another server takes over.
    Release,
    /// Time has passed.
    Time,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed<M> {
    pub token: DeliveryToken,
    /// Of all dispatchers, as far as they are counted.
    pub attempt: u32,
    /// How often it was given back.
    pub nacks: u32,
    pub message: M,
}

/// A message that goes to the dead letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead<M> {
    pub id: u64,
    pub counts: Counts,
    pub message: M,
}

/// What a dispatcher wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<M> {
    /// Answers a Pop, also with nothing; where that cannot be told, it is followed by [`Event::TakenBack`].
    Deliver {
        pop: u64,
        deliveries: Vec<Handed<M>>,
        expired: Vec<NoticeToken>,
    },
    Refuse {
        pop: u64,
        why: PopRefusal,
    },
    Acked {
        ack: u64,
    },
    AckRefused {
        ack: u64,
        why: AckRefusal,
    },
    /// Takes the place of the read before that waits, or that does not, like this one: its result is of no use any more.
    Read(Wanted),
    /// At most one at a time.
    Commit {
        number: u64,
        acknowledged: IntervalSet,
        counts: BTreeMap<u64, Counts>,
        given_back: IntervalSet,
    },
    /// To the dead letter topic, exactly once: followed by [`Event::Moved`] or [`Event::MoveFailed`].
    Move(Dead<M>),
    /// Nothing follows: drop the dispatcher.
    Ended,
}

/// A read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub number: u64,
    pub from: u64,
    pub messages_max: u64,
    pub bytes_max: u64,
    /// Whether to wait for a first message.
    pub wait: bool,
}

/// Why a Pop gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopRefusal {
    /// The same client has begun another Pop.
    Replaced,
    /// So much is handed out without a successful commit that nothing more may be.
    Uncommitted,
    /// No store gives the messages.
    Unreadable,
    /// This ID is corrupt on every replica.
    Damaged(u64),
    TooManyWaiting,
    /// This server does not dispatch the subscription any more.
    Elsewhere,
}

/// Which of a call's deliveries are not its client's any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Their places among the tokens, ascending; at least one.
    pub indexes: Vec<usize>,
    /// The first one's message.
    pub id: u64,
}

/// Why an Ack, Nack or Extend gets an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckRefusal {
    /// Some deliveries are another client's now; the others are acknowledged and committed, or what was asked for.
    Expired(Expired),
    /// Not committed in time; it may be yet.
    Uncommitted,
    TooManyWaiting,
    /// This server does not dispatch the subscription any more.
    Elsewhere,
}
