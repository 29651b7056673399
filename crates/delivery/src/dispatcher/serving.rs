//! Who gets what: first what a client was given before and did not acknowledge, then what must come again or was passed
//! over, then what nobody was given yet. What is of a key that is with somebody else is passed over.

use std::mem;

use trunkline_types::limits::{DEAD_LETTERS_AT_ONCE, DELIVERY_WINDOW_MAX};

use super::Dispatcher;
use super::effect::{Dead, Effect, Handed, Pop, PopRefusal};
use super::outstanding::{Attempt, Client, Tale};
use super::shelf::Payload;
use super::token::{DeliveryToken, NoticeToken};

/// Before the end of its wait by so much, it is made sure that there is nothing for a Pop, so that it can be said then.
const CHECK_LEAD_MS: u64 = 50;
/// While as many as may be are on their way to the dead letter topic, the next waits so long.
const MOVE_LATER_MS: u64 = 1_000;

/// Why a Pop gets nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// There is nothing for it, as far as was read.
    Nothing,
    /// So much is unacknowledged that only redeliveries are handed out.
    Window,
    /// This one was delivered before and must be read again.
    Missing(u64),
    /// A commit must succeed first.
    Uncommitted,
    /// The same, in IMMEDIATE.
    Unreserved,
}

/// A Pop that has no answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pop: Pop,
    /// Its client has deliveries that come first.
    own: bool,
    /// Reads that had begun when it came.
    begun: u64,
    /// From here on a store is asked whether there is nothing for it.
    check_at_ms: u64,
    blocked: Blocked,
}

impl Waiting {
    pub(super) fn new(now_ms: u64, begun: u64, pop: Pop, own: bool) -> Self {
        let check_at_ms = pop.wait_until_ms.saturating_sub(CHECK_LEAD_MS).max(now_ms);
        Self { pop, own, begun, check_at_ms, blocked: Blocked::Nothing }
    }
}

/// One answer in the making.
struct Answer<M> {
    deliveries: Vec<Handed<M>>,
    bytes: u64,
}

impl<M: Payload> Dispatcher<M> {
    /// Answers those who wait, in order. Returns what must be read again for the first of them.
    pub(super) fn serve(&mut self, now_ms: u64, effects: &mut Vec<Effect<M>>) -> Option<u64> {
        if self.releasing || self.waiting.is_empty() {
            return None;
        }
        let mut missing = None;
        // What anyone may be given is exhausted when the first that has nothing of its own gets nothing.
        let mut exhausted: Option<Blocked> = None;
        let mut waiting = mem::take(&mut self.waiting);
        waiting.retain_mut(|waiting| {
            let client = &waiting.pop.client;
            let is_special = waiting.own || waiting.pop.share.is_some() || self.outstanding.has_own(client);
            if let (Some(blocked), false) = (exhausted, is_special) {
                waiting.blocked = blocked;
                return true;
            }
            match self.hand_out(&waiting.pop, waiting.own, now_ms) {
                Ok(answer) => {
                    effects.push(answer);
                    false
                }
                Err(blocked) => {
                    waiting.blocked = blocked;
                    if let Blocked::Missing(id) = blocked {
                        missing.get_or_insert(id);
                    }
                    if !is_special {
                        exhausted = Some(blocked);
                    }
                    true
                }
            }
        });
        self.waiting = waiting;
        missing
    }

    /// A client's Pop takes the place of the one that it has waiting.
    pub(super) fn replace(&mut self, client: &Client, effects: &mut Vec<Effect<M>>) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.pop.client == *client) {
            let pop = self.waiting.remove(at).expect("it was just found").pop.number;
            effects.push(Effect::Refuse { pop, why: PopRefusal::Replaced });
        }
    }

    /// Answers those whose time is up.
    pub(super) fn time_out(&mut self, now_ms: u64, effects: &mut Vec<Effect<M>>) {
        let reading = &self.reading;
        let releasing = self.releasing;
        self.waiting.retain(|waiting| {
            let pop = waiting.pop.number;
            let nothing = match waiting.blocked {
                Blocked::Nothing => reading.found_nothing_since(waiting.begun),
                Blocked::Window => true,
                Blocked::Missing(_) | Blocked::Uncommitted | Blocked::Unreserved => false,
            };
            let refusal = match (waiting.blocked, reading.found_damaged_since(waiting.begun)) {
                (Blocked::Uncommitted | Blocked::Unreserved, _) => PopRefusal::Uncommitted,
                (Blocked::Nothing | Blocked::Missing(_), Some(id)) => PopRefusal::Damaged(id),
                _ => PopRefusal::Unreadable,
            };
            let is_late = now_ms >= waiting.pop.deadline_ms;
            if nothing && !releasing && now_ms >= waiting.pop.wait_until_ms {
                effects.push(Effect::Deliver { pop, deliveries: Vec::new(), expired: Vec::new() });
            } else if is_late || matches!(refusal, PopRefusal::Damaged(_)) {
                effects.push(Effect::Refuse { pop, why: refusal });
            } else {
                return true;
            }
            false
        });
    }

    /// When the next one's time is up.
    pub(super) fn waiting_until(&self) -> Option<u64> {
        let until = |waiting: &Waiting| match waiting.blocked {
            _ if self.releasing => waiting.pop.deadline_ms,
            Blocked::Nothing if !self.reading.found_nothing_since(waiting.begun) => waiting.pop.deadline_ms,
            Blocked::Nothing | Blocked::Window => waiting.pop.wait_until_ms,
            Blocked::Missing(_) | Blocked::Uncommitted | Blocked::Unreserved => waiting.pop.deadline_ms,
        };
        self.waiting.iter().map(until).min()
    }

    /// When a store must be asked whether there is nothing, because somebody waits who is to be told so.
    pub(super) fn check_at(&self) -> Option<u64> {
        let unknown = self.waiting.iter().filter(|waiting| {
            waiting.blocked == Blocked::Nothing && !self.reading.found_nothing_since(waiting.begun)
        });
        unknown.map(|waiting| waiting.check_at_ms).min()
    }

    /// How many messages are asked for that must be reserved first.
    pub(super) fn wanted_at_once(&self) -> u64 {
        let unreserved = self.waiting.iter().filter(|waiting| waiting.blocked == Blocked::Unreserved);
        unreserved.map(|waiting| waiting.pop.messages_max).fold(0, u64::saturating_add)
    }

    /// `own`: its client has deliveries that come first.
    fn hand_out(&mut self, pop: &Pop, own: bool, now_ms: u64) -> Result<Effect<M>, Blocked> {
        let mut answer = Answer { deliveries: Vec::new(), bytes: 0 };
        let stopped = self
            .hand_out_own(pop, own, now_ms, &mut answer)
            .and_then(|()| self.hand_out_pending(pop, now_ms, &mut answer))
            .and_then(|()| self.hand_out_fresh(pop, now_ms, &mut answer));
        let expired = self.tell_expired(&pop.client, now_ms);
        match stopped {
            Err(Some(blocked)) if answer.deliveries.is_empty() && expired.is_empty() => Err(blocked),
            _ => Ok(Effect::Deliver { pop: pop.number, deliveries: answer.deliveries, expired }),
        }
    }

    fn tell_expired(&mut self, client: &Client, now_ms: u64) -> Vec<NoticeToken> {
        let ranges = self.notices.take(client, now_ms + self.policy.ack_deadline_ms);
        let notices: Vec<NoticeToken> = ranges.into_iter().map(|range| self.notice(range)).collect();
        if self.is_immediate() {
            notices.iter().for_each(|notice| self.acknowledge_notice(notice, now_ms));
        }
        notices
    }

    /// `Err`: nothing more for this answer, and why it would stay empty if it is.
    fn hand_out_own(
        &mut self,
        pop: &Pop,
        own: bool,
        now_ms: u64,
        answer: &mut Answer<M>,
    ) -> Result<(), Option<Blocked>> {
        if own {
            let most = usize::try_from(pop.messages_max).unwrap_or(usize::MAX);
            let client = &pop.client;
            let ids: Vec<u64> = match client {
                Client::Stream(_) => self.outstanding.of_round(client, pop.round).take(most).collect(),
                _ => self.outstanding.of(client).take(most).collect(),
            };
            ids.into_iter().try_for_each(|id| self.offer(id, pop, now_ms, answer))?;
        }
        Ok(())
    }

    fn hand_out_pending(
        &mut self,
        pop: &Pop,
        now_ms: u64,
        answer: &mut Answer<M>,
    ) -> Result<(), Option<Blocked>> {
        while let Some(id) = self.outstanding.next_for(&pop.client, pop.share) {
            self.offer(id, pop, now_ms, answer)?;
        }
        Ok(())
    }

    fn hand_out_fresh(
        &mut self,
        pop: &Pop,
        now_ms: u64,
        answer: &mut Answer<M>,
    ) -> Result<(), Option<Blocked>> {
        let lowest = self.lowest();
        loop {
            let id = self.ledger.first_missing(self.shelf.next());
            // In this order: beyond the window nothing is read, so that it could not be known that there is nothing.
            if id.saturating_sub(lowest) >= DELIVERY_WINDOW_MAX {
                return Err(Some(Blocked::Window));
            }
            let is_read = id < self.shelf.ahead();
            if self.is_immediate() {
                return Err(Some(self.without_reserved(is_read)));
            }
            if !is_read {
                return Err(Some(Blocked::Nothing));
            }
            let Some(message) = self.shelf.get(id) else { return Err(Some(Blocked::Missing(id))) };
            let key = message.key();
            let is_others = pop.share.is_some_and(|share| !share.has(key));
            if is_others || !self.outstanding.is_free(key, &pop.client) {
                self.outstanding.pass_over(id, self.tale(id, key), false);
            } else {
                self.offer(id, pop, now_ms, answer)?;
            }
            self.shelf.advance(id + 1);
        }
    }

    /// Hands out one message, if it is there and may be.
    fn offer(
        &mut self,
        id: u64,
        pop: &Pop,
        now_ms: u64,
        answer: &mut Answer<M>,
    ) -> Result<(), Option<Blocked>> {
        if id < self.earliest {
            self.outstanding.remove(id);
            self.shelf.remove(id);
            self.notices.add(id..id + 1);
            return Ok(());
        }
        if answer.deliveries.len() as u64 >= pop.messages_max {
            return Err(None);
        }
        if self.ledger.may_hand_out() == 0 {
            return Err(Some(Blocked::Uncommitted));
        }
        let Some(message) = self.shelf.get(id).cloned() else { return Err(Some(Blocked::Missing(id))) };
        if self.is_spent(id) {
            self.bury(id, message, now_ms);
            return Ok(());
        }
        if !answer.deliveries.is_empty() && answer.bytes + message.bytes() > pop.bytes_max {
            return Err(None);
        }
        answer.bytes += message.bytes();
        let attempt = self.give(id, message.key(), pop, now_ms);
        let token = DeliveryToken {
            check: self.check,
            instance: self.instance,
            generation: self.generation,
            token: self.token,
            id,
            attempt: attempt.number,
        };
        let (attempt, nacks) = (attempt.told, attempt.nacks);
        answer.deliveries.push(Handed { token, attempt, nacks, message });
        self.ledger.hand_out();
        Ok(())
    }

    fn give(&mut self, id: u64, key: Option<u64>, pop: &Pop, now_ms: u64) -> Attempt {
        if self.is_immediate() {
            self.outstanding.remove(id);
            return Attempt { number: 1, told: 1, nacks: 0 };
        }
        let due_ms = now_ms + self.policy.ack_deadline_ms;
        self.outstanding.give(id, self.tale(id, key), pop, due_ms)
    }

    /// Of what this dispatcher has not handed out yet.
    fn tale(&self, id: u64, key: Option<u64>) -> Tale {
        Tale::new(key, self.counts.get(&id).copied().unwrap_or_default())
    }

    fn is_spent(&self, id: u64) -> bool {
        let known = self.outstanding.tale(id).map(Tale::counts);
        self.policy.is_spent(known.or_else(|| self.counts.get(&id).copied()).unwrap_or_default())
    }

    /// It goes to the dead letter topic.
    fn bury(&mut self, id: u64, message: M, now_ms: u64) {
        let tale = self.tale(id, message.key());
        if self.outstanding.moving() >= DEAD_LETTERS_AT_ONCE {
            self.outstanding.postpone(id, tale, now_ms + MOVE_LATER_MS);
        } else {
            let counts = self.outstanding.begin_to_move(id, tale);
            self.dead.push(Dead { id, counts, message });
        }
    }
}
