//! One subscription's deliveries, in the hands of one pop server.
//!
//! [`Dispatcher::step`] takes an [`Event`] and the time, and says what is to be done as [`Effect`]s. The time is any
//! number of milliseconds that does not go back; [`Dispatcher::wake_at`] says when [`Event::Time`] is needed next.
//!
//! **I5, nothing hides behind a position**: an ID is acknowledged only by the token of a delivery (or, in the bare
//! form, by the bare form's next Pop), because it is in the dead letter topic, or because it is expired and a client has
//! acknowledged to know it. What was handed out and not acknowledged comes again: at its client's next Pop, by a nack, at
//! the ack deadline, or when its Consume stream ends. A take-over starts from the committed acknowledgements and no
//! others. (IMMEDIATE is at most once: acknowledged and committed before it is handed out.)
//!
//! - [`token`]: the words that name a delivery, or a notice.
//! - [`effect`]: events and effects.
//! - [`policy`]: what of a subscription's options matters here.
//! - `ledger`: what is acknowledged, and the commits behind.
//! - `outstanding`: who has what, until when, and what must come yet; `keys`, `ready`: in which order, and to whom.
//! - `settling`: what tokens do.
//! - `notices`: what will never be delivered; `reserving`: IMMEDIATE.
//! - `shelf`: messages in memory; `reading`: when to read more, and when it is known that there is nothing.
//! - `serving`: who gets what.
//! - [`locality`]: where dispatch belongs.

pub mod effect;
pub mod locality;
pub mod policy;
pub mod token;

mod keys;
mod ledger;
mod notices;
mod outstanding;
mod reading;
mod ready;
mod reserving;
mod serving;
mod settling;
mod shelf;
#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use trunkline_types::limits::WAITING_POPS_MAX;
use trunkline_types::{FencingToken, Generation, IntervalSet};

pub use effect::{AckRefusal, Dead, Effect, Event, Expired, Handed, Pop, PopRefusal, Wanted};
pub use keys::{Key, Share};
pub use locality::Locality;
pub use outstanding::Client;
pub use policy::Policy;
pub use shelf::Payload;
pub use token::{DeliveryToken, InvalidToken, NoticeToken, Token, subscription_check};

use crate::position::{AckMode, Counts};
use ledger::Ledger;
use notices::Notices;
use outstanding::Outstanding;
use reading::Reading;
use reserving::Reserving;
use serving::Waiting;
use shelf::Shelf;

/// What a pop server has acquired, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// [`subscription_check`] of the subscription.
    pub check: u32,
    pub instance: u64,
    pub generation: Generation,
    pub token: FencingToken,
    pub start_id: u64,
    /// As committed.
    pub acknowledged: IntervalSet,
    /// As committed.
    pub counts: BTreeMap<u64, Counts>,
    pub policy: Policy,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Dispatcher<M> {
    check: u32,
    instance: u64,
    generation: Generation,
    token: FencingToken,
    policy: Policy,
    ledger: Ledger,
    outstanding: Outstanding,
    /// Under earlier dispatchers.
    counts: BTreeMap<u64, Counts>,
    shelf: Shelf<M>,
    reading: Reading,
    reserving: Reserving,
    waiting: VecDeque<Waiting>,
    notices: Notices,
    /// To be told to the driver.
    dead: Vec<Dead<M>>,
    earliest: u64,
    releasing: bool,
    ended: bool,
}

impl<M: Payload> Dispatcher<M> {
    pub fn new(lease: Lease) -> Self {
        let start_id = lease.start_id.max(1);
        let ledger = Ledger::new(start_id, lease.acknowledged);
        let shelf = Shelf::new(ledger.lowest());
        Self {
            check: lease.check,
            instance: lease.instance,
            generation: lease.generation,
            token: lease.token,
            policy: lease.policy,
            ledger,
            outstanding: Outstanding::default(),
            counts: lease.counts,
            shelf,
            reading: Reading::default(),
            reserving: Reserving::default(),
            waiting: VecDeque::new(),
            notices: Notices::default(),
            dead: Vec::new(),
            earliest: 0,
            releasing: false,
            ended: false,
        }
    }

    /// One event at `now_ms`.
    pub fn step(&mut self, now_ms: u64, event: Event<M>, effects: &mut Vec<Effect<M>>) {
        let expired = self.outstanding.expire(now_ms, &self.policy);
        self.ledger.count(expired, now_ms);
        self.notices.expire(now_ms);
        match event {
            Event::Pop(pop) => self.pop(now_ms, pop, effects),
            Event::Ack { ack, tokens, deadline_ms } => self.ack(now_ms, ack, &tokens, deadline_ms, effects),
            Event::Nack { ack, tokens } => self.nack(now_ms, ack, &tokens, effects),
            Event::Extend { ack, tokens } => self.extend(ack, &tokens, effects),
            Event::Left { client } => self.left(&client, now_ms),
            Event::Abandoned { pops } => self.waiting.retain(|waiting| !pops.contains(&waiting.pop.number)),
            Event::TakenBack { deliveries, expired } => self.take_back(&deliveries, &expired),
            Event::Moved { id } => self.moved(id, now_ms),
            Event::MoveFailed { id, retry_ms } => self.outstanding.move_failed(id, now_ms + retry_ms),
            Event::Read { number, first_id, messages, more, earliest } => {
                self.expire_below(earliest);
                self.read(now_ms, number, (first_id..).zip(messages), more);
            }
            Event::ReadFailed { number, retry_ms, damaged } => {
                self.read_failed(now_ms, number, retry_ms, damaged);
            }
            Event::Committed { number } => {
                let committed = self.ledger.committed(number, effects);
                self.reserved(&committed);
            }
            Event::CommitFailed { number, retry_ms } => {
                self.ledger.failed(number, now_ms, retry_ms);
                if self.releasing {
                    self.end(effects);
                }
            }
            Event::CommitRefused { number } if self.ledger.is_in_flight(number) => self.end(effects),
            Event::Release => self.releasing = true,
            Event::CommitRefused { .. } | Event::Time => {}
        }
        self.settle(now_ms, effects);
    }

    /// When the next [`Event::Time`] is needed.
    pub fn wake_at(&self) -> Option<u64> {
        [
            self.outstanding.next_due(),
            self.notices.next_due(),
            self.ledger.wake_at(self.releasing),
            self.ledger.next_ack_deadline(),
            self.reading.wake_at(),
            self.waiting_until(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The highest ID with all IDs up to it acknowledged, committed or not.
    pub fn position(&self) -> u64 {
        self.ledger.lowest() - 1
    }

    /// Handed out and not acknowledged.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Nothing is lost or brought forward by releasing it now.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.outstanding.is_empty()
            && !self.notices.are_outstanding()
            && self.ledger.is_settled()
    }

    /// Bytes of messages in memory.
    pub fn held_bytes(&self) -> u64 {
        self.shelf.bytes()
    }

    /// Forgets the messages in memory, except what somebody waits for; they are read again when somebody asks.
    pub fn shed(&mut self) {
        if self.waiting.is_empty() {
            self.shelf.clear();
            self.reading.stop();
        } else {
            self.shelf.forget_delivered();
        }
    }

    fn settle(&mut self, now_ms: u64, effects: &mut Vec<Effect<M>>) {
        if self.ended {
            return;
        }
        // What others' tokens have acknowledged needs no reading.
        self.shelf.advance(self.ledger.first_missing(self.shelf.next()));
        let missing = self.serve(now_ms, effects);
        effects.extend(self.dead.drain(..).map(Effect::Move));
        self.reserve(now_ms);
        self.time_out(now_ms, effects);
        self.read_if_wanted(now_ms, missing, effects);
        self.ledger.time_out_acks(now_ms, effects);
        self.ledger.commit_if_due(now_ms, self.releasing, effects);
        if self.releasing && self.ledger.is_settled() {
            self.end(effects);
        }
    }

    fn pop(&mut self, now_ms: u64, mut pop: Pop, effects: &mut Vec<Effect<M>>) {
        if self.ended {
            effects.push(Effect::Refuse { pop: pop.number, why: PopRefusal::Elsewhere });
            return;
        }
        self.accept(&pop.echoed, now_ms);
        // Only there a Pop says something of the one before.
        let follows = self.policy.ack_mode == AckMode::OnNextPop;
        match &pop.client {
            Client::Bare if follows => self.acknowledge_all_of(&Client::Bare, now_ms),
            Client::Bare => pop.client = Client::Nameless,
            Client::Named(_) if follows => {
                self.notices.leave(&pop.client);
                self.replace(&pop.client, effects);
            }
            Client::Named(_) | Client::Stream(_) => self.replace(&pop.client, effects),
            Client::Nameless => {}
        }
        self.releasing |= pop.releases;
        if self.waiting.len() >= WAITING_POPS_MAX {
            effects.push(Effect::Refuse { pop: pop.number, why: PopRefusal::TooManyWaiting });
            return;
        }
        let own = match &pop.client {
            Client::Named(_) => follows && self.outstanding.has_any(&pop.client),
            Client::Stream(_) => self.outstanding.of_round(&pop.client, pop.round).next().is_some(),
            Client::Bare | Client::Nameless => false,
        };
        self.waiting.push_back(Waiting::new(now_ms, self.reading.begun(), pop, own));
    }

    /// The lowest ID that may still be delivered and is not acknowledged.
    fn lowest(&self) -> u64 {
        let mut id = self.ledger.lowest();
        loop {
            let next = self.ledger.first_missing(self.notices.first_after(id));
            if next == id {
                return id;
            }
            id = next;
        }
    }

    /// The subscription is somebody else's: all who wait are to ask there.
    fn end(&mut self, effects: &mut Vec<Effect<M>>) {
        self.ended = true;
        for waiting in self.waiting.drain(..) {
            effects.push(Effect::Refuse { pop: waiting.pop.number, why: PopRefusal::Elsewhere });
        }
        for ack in self.ledger.take_acks() {
            effects.push(Effect::AckRefused { ack: ack.number, why: AckRefusal::Elsewhere });
        }
        effects.push(Effect::Ended);
    }
}
