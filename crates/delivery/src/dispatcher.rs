//! One subscription's deliveries, in the hands of one pop server.
//!
//! [`Dispatcher::step`] takes an [`Event`] and the time, and says what is to be done as [`Effect`]s. The time is any
//! number of milliseconds that does not go back; [`Dispatcher::wake_at`] says when [`Event::Time`] is needed next.
//!
//! **I5, nothing hides behind a position**: an ID is acknowledged only by the token of a delivery (or, in the bare
//! form, by the bare form's next Pop), or because it is expired and an answer has said so. What was handed out and not
//! acknowledged comes again: at its client's next Pop, or at the ack deadline. A take-over starts from the committed
//! acknowledgements and no others.
//!
//! - [`token`]: the word that names a delivery.
//! - [`effect`]: events and effects.
//! - `ledger`: what is acknowledged, and the commits behind.
//! - `outstanding`: who has what, until when.
//! - `shelf`: messages in memory; `reading`: when to read more, and when it is known that there is nothing.
//! - `serving`: who gets what.
//! - [`locality`]: where dispatch belongs.

pub mod effect;
pub mod locality;
pub mod token;

mod ledger;
mod outstanding;
mod reading;
mod serving;
mod shelf;
#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests;

use std::collections::VecDeque;

use trunkline_types::limits::{DELIVERY_WINDOW_MAX, HANDED_OUT_MAX, WAITING_POPS_MAX};
use trunkline_types::{FencingToken, Generation, IntervalSet};

pub use effect::{AckRefusal, Effect, Event, Expired, Handed, Pop, PopRefusal, Wanted};
pub use locality::Locality;
pub use outstanding::Client;
pub use shelf::Payload;
pub use token::{DeliveryToken, InvalidToken, subscription_check};

use ledger::{Ledger, WaitingAck};
use outstanding::{Outstanding, Standing};
use reading::Reading;
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
    pub ack_deadline_ms: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Dispatcher<M> {
    check: u32,
    instance: u64,
    generation: Generation,
    token: FencingToken,
    ack_deadline_ms: u64,
    ledger: Ledger,
    outstanding: Outstanding,
    shelf: Shelf<M>,
    reading: Reading,
    waiting: VecDeque<Waiting>,
    /// Expired and not yet told.
    expired: IntervalSet,
    earliest: u64,
    releasing: bool,
    ended: bool,
}

/// What a token says of a delivery.
enum Judgment {
    Acknowledge,
    Already,
    Refuse,
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
            ack_deadline_ms: lease.ack_deadline_ms,
            ledger,
            outstanding: Outstanding::default(),
            shelf,
            reading: Reading::default(),
            waiting: VecDeque::new(),
            expired: IntervalSet::new(),
            earliest: 0,
            releasing: false,
            ended: false,
        }
    }

    /// One event at `now_ms`.
    pub fn step(&mut self, now_ms: u64, event: Event<M>, effects: &mut Vec<Effect<M>>) {
        self.outstanding.expire(now_ms);
        match event {
            Event::Pop(pop) => self.pop(now_ms, pop, effects),
            Event::Ack { ack, tokens, deadline_ms } => self.ack(now_ms, ack, &tokens, deadline_ms, effects),
            Event::Abandoned { pops } => self.waiting.retain(|waiting| !pops.contains(&waiting.pop.number)),
            Event::Told { expired } => {
                expired.into_iter().for_each(|range| self.ledger.acknowledge(range, now_ms));
            }
            Event::TakenBack { deliveries, expired } => {
                for token in deliveries.iter().filter(|token| token.token == self.token) {
                    self.outstanding.take_back(token.id, token.attempt);
                }
                for range in expired {
                    self.expired.insert(range);
                }
            }
            Event::Read { number, first_id, messages, more, earliest } => {
                self.expire_below(earliest);
                self.read(now_ms, number, (first_id..).zip(messages), more);
            }
            Event::ReadFailed { number, retry_ms, damaged } => {
                self.read_failed(now_ms, number, retry_ms, damaged);
            }
            Event::Committed { number } => self.ledger.committed(number, effects),
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

    /// The same subscription has other options. False: they cannot change under way; release it, and whoever acquires
    /// it next has them.
    pub fn configure(&mut self, lease: &Lease) -> bool {
        self.ack_deadline_ms = lease.ack_deadline_ms;
        true
    }

    /// When the next [`Event::Time`] is needed.
    pub fn wake_at(&self) -> Option<u64> {
        [
            self.outstanding.next_due(),
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

    /// Nothing is lost or brought forward by dropping it now.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.outstanding.is_empty() && self.ledger.is_settled()
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
        self.time_out(now_ms, effects);
        self.read_if_wanted(now_ms, missing, effects);
        self.ledger.time_out_acks(now_ms, effects);
        self.ledger.commit_if_due(now_ms, self.releasing, effects);
        if self.releasing && self.ledger.is_settled() {
            self.end(effects);
        }
    }

    fn pop(&mut self, now_ms: u64, pop: Pop, effects: &mut Vec<Effect<M>>) {
        if self.ended {
            effects.push(Effect::Refuse { pop: pop.number, why: PopRefusal::Elsewhere });
            return;
        }
        for token in &pop.echoed {
            if matches!(self.judge(token), Judgment::Acknowledge) {
                self.acknowledge(token.id, now_ms);
            }
        }
        match &pop.client {
            Client::Bare => {
                let given: Vec<u64> = self.outstanding.of(&Client::Bare).collect();
                given.into_iter().for_each(|id| self.acknowledge(id, now_ms));
            }
            Client::Named(_) => self.replace(&pop.client, effects),
            Client::Nameless => {}
        }
        self.releasing |= pop.releases;
        if self.waiting.len() >= WAITING_POPS_MAX {
            effects.push(Effect::Refuse { pop: pop.number, why: PopRefusal::TooManyWaiting });
            return;
        }
        let own = matches!(pop.client, Client::Named(_)) && self.outstanding.has_any(&pop.client);
        self.waiting.push_back(Waiting::new(now_ms, self.reading.begun(), pop, own));
    }

    fn ack(
        &mut self,
        now_ms: u64,
        ack: u64,
        tokens: &[DeliveryToken],
        deadline_ms: u64,
        effects: &mut Vec<Effect<M>>,
    ) {
        if self.ended {
            effects.push(Effect::AckRefused { ack, why: AckRefusal::Elsewhere });
            return;
        }
        let mut expired: Option<Expired> = None;
        let mut ids = Vec::with_capacity(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            match self.judge(token) {
                Judgment::Acknowledge => self.acknowledge(token.id, now_ms),
                Judgment::Already => {}
                Judgment::Refuse => {
                    expired.get_or_insert(Expired { count: 0, index, id: token.id }).count += 1;
                    continue;
                }
            }
            ids.push(token.id);
        }
        self.ledger.answer_when_committed(WaitingAck { number: ack, deadline_ms, expired }, &ids, effects);
    }

    /// Whether a token acknowledges its message. One of this dispatcher does unless somebody else was given the
    /// message since; one of another dispatcher does unless this one has handed the message out.
    fn judge(&mut self, token: &DeliveryToken) -> Judgment {
        if (token.check, token.instance, token.generation) != (self.check, self.instance, self.generation) {
            return Judgment::Refuse;
        }
        if self.ledger.is_acknowledged(token.id) {
            return Judgment::Already;
        }
        if token.token > self.token {
            self.ledger.doubt();
        }
        let counts = if token.token == self.token {
            self.outstanding.standing(token.id, token.attempt) == Standing::Valid
        } else {
            // An earlier dispatcher's window may have begun above what it had committed.
            let reach = DELIVERY_WINDOW_MAX + HANDED_OUT_MAX;
            !self.outstanding.contains(token.id) && token.id - self.ledger.lowest() < reach
        };
        if counts { Judgment::Acknowledge } else { Judgment::Refuse }
    }

    fn acknowledge(&mut self, id: u64, now_ms: u64) {
        self.ledger.acknowledge(id..id + 1, now_ms);
        self.outstanding.remove(id);
        self.shelf.remove(id);
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
