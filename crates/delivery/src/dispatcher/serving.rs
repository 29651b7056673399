//! Who gets what: first what a client was given before and did not acknowledge, then what must come again to anyone,
//! then what nobody was given yet.

use std::mem;

use trunkline_types::limits::DELIVERY_WINDOW_MAX;

use super::Dispatcher;
use super::effect::{Effect, Handed, Pop, PopRefusal};
use super::outstanding::Client;
use super::shelf::Payload;
use super::token::DeliveryToken;

/// Before the end of its wait by so much, it is made sure that there is nothing for a Pop, so that it can be said then.
const CHECK_LEAD_MS: u64 = 50;

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
            if let (Some(blocked), false) = (exhausted, waiting.own) {
                waiting.blocked = blocked;
                return true;
            }
            match self.hand_out(&waiting.pop, now_ms) {
                Ok(answer) => {
                    effects.push(answer);
                    false
                }
                Err(blocked) => {
                    waiting.blocked = blocked;
                    if let Blocked::Missing(id) = blocked {
                        missing.get_or_insert(id);
                    }
                    if !waiting.own {
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
                Blocked::Missing(_) | Blocked::Uncommitted => false,
            };
            let refusal = match (waiting.blocked, reading.found_damaged_since(waiting.begun)) {
                (Blocked::Uncommitted, _) => PopRefusal::Uncommitted,
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
            Blocked::Missing(_) | Blocked::Uncommitted => waiting.pop.deadline_ms,
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

    fn hand_out(&mut self, pop: &Pop, now_ms: u64) -> Result<Effect<M>, Blocked> {
        let mut answer = Answer { deliveries: Vec::new(), bytes: 0 };
        let stopped = self
            .hand_out_again(pop, now_ms, &mut answer)
            .and_then(|()| self.hand_out_fresh(pop, now_ms, &mut answer));
        // It counts as acknowledged once it is told.
        let expired: Vec<_> = mem::take(&mut self.expired).iter().collect();
        match stopped {
            Err(Some(blocked)) if answer.deliveries.is_empty() && expired.is_empty() => Err(blocked),
            _ => Ok(Effect::Deliver { pop: pop.number, deliveries: answer.deliveries, expired }),
        }
    }

    /// `Err`: nothing more for this answer, and why it would stay empty if it is.
    fn hand_out_again(
        &mut self,
        pop: &Pop,
        now_ms: u64,
        answer: &mut Answer<M>,
    ) -> Result<(), Option<Blocked>> {
        let most = usize::try_from(pop.messages_max).unwrap_or(usize::MAX);
        let mut ids: Vec<u64> = Vec::new();
        if matches!(pop.client, Client::Named(_)) {
            ids.extend(self.outstanding.of(&pop.client).take(most));
        }
        if self.outstanding.has_again() {
            ids.extend(self.outstanding.again().take(most));
        }
        for id in ids {
            if id < self.earliest {
                self.outstanding.remove(id);
                self.shelf.remove(id);
                self.expired.insert(id..id + 1);
            } else {
                self.offer(id, pop, now_ms, answer)?;
            }
        }
        Ok(())
    }

    fn hand_out_fresh(
        &mut self,
        pop: &Pop,
        now_ms: u64,
        answer: &mut Answer<M>,
    ) -> Result<(), Option<Blocked>> {
        let lowest = self.ledger.lowest();
        loop {
            let id = self.ledger.first_missing(self.shelf.next());
            // In this order: beyond the window nothing is read, so that it could not be known that there is nothing.
            if id - lowest >= DELIVERY_WINDOW_MAX {
                return Err(Some(Blocked::Window));
            }
            if id >= self.shelf.ahead() {
                return Err(Some(Blocked::Nothing));
            }
            self.offer(id, pop, now_ms, answer)?;
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
        if answer.deliveries.len() as u64 >= pop.messages_max {
            return Err(None);
        }
        if self.ledger.may_hand_out() == 0 {
            return Err(Some(Blocked::Uncommitted));
        }
        let Some(message) = self.shelf.get(id) else { return Err(Some(Blocked::Missing(id))) };
        if !answer.deliveries.is_empty() && answer.bytes + message.bytes() > pop.bytes_max {
            return Err(None);
        }
        answer.bytes += message.bytes();
        let attempt = self.outstanding.give(id, &pop.client, now_ms + self.ack_deadline_ms);
        let token = DeliveryToken {
            check: self.check,
            instance: self.instance,
            generation: self.generation,
            token: self.token,
            id,
            attempt,
        };
        answer.deliveries.push(Handed { token, message: message.clone() });
        self.ledger.hand_out();
        Ok(())
    }
}
