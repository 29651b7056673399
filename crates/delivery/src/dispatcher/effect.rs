//! What a dispatcher is told, and what it wants done.

use std::ops::Range;

use trunkline_types::IntervalSet;

use super::outstanding::Client;
use super::token::DeliveryToken;

/// A client's Pop.
#[derive(Clone, Debug)]
pub struct Pop {
    /// Chosen by the driver, never used twice.
    pub number: u64,
    pub client: Client,
    /// The deliveries that it acknowledges.
    pub echoed: Vec<DeliveryToken>,
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
        tokens: Vec<DeliveryToken>,
        deadline_ms: u64,
    },
    /// The callers of these Pops, which wait, are gone.
    Abandoned {
        pops: Vec<u64>,
    },
    /// An answer was given that says that these IDs are expired.
    Told {
        expired: Vec<Range<u64>>,
    },
    /// An answer that could not be given, for its caller was gone.
    TakenBack {
        deliveries: Vec<DeliveryToken>,
        expired: Vec<Range<u64>>,
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
    pub message: M,
}

/// What a dispatcher wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<M> {
    /// Answers a Pop, also with nothing. What is expired is to be followed by [`Event::Told`] or [`Event::TakenBack`].
    Deliver {
        pop: u64,
        deliveries: Vec<Handed<M>>,
        expired: Vec<Range<u64>>,
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
    },
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

/// Which of an Ack's deliveries it could not acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    pub count: usize,
    /// The first one's place among the tokens, and its ID.
    pub index: usize,
    pub id: u64,
}

/// Why an Ack gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckRefusal {
    /// Some deliveries are another client's now; the others are acknowledged and committed.
    Expired(Expired),
    /// Not committed in time; it may be yet.
    Uncommitted,
    TooManyWaiting,
    /// This server does not dispatch the subscription any more.
    Elsewhere,
}
