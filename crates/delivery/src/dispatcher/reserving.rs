//! IMMEDIATE: what is handed out was acknowledged, and that committed, before. So it is reserved ahead, the more the
//! faster it goes; what a dispatcher has reserved and not handed out when it is released it gives back, and only one
//! that dies takes it along.

use trunkline_types::IntervalSet;
use trunkline_types::limits::RESERVED_MAX;

use super::Dispatcher;
use super::outstanding::Tale;
use super::serving::Blocked;
use super::shelf::Payload;
use crate::position::{AckMode, Counts};

/// Who needs more within so short a time gets twice as much.
const SOON_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Reserving {
    /// How many were to be reserved the last time, and when.
    batch: u64,
    since_ms: u64,
    is_under_way: bool,
}

impl<M: Payload> Dispatcher<M> {
    pub(super) fn is_immediate(&self) -> bool {
        self.policy.ack_mode == AckMode::Immediate
    }

    /// Why there is nothing that was not handed out yet.
    pub(super) fn without_reserved(&self, is_read: bool) -> Blocked {
        if self.outstanding.pending_len() as u64 >= 2 * RESERVED_MAX {
            // All of other members' keys.
            Blocked::Window
        } else if is_read || self.reserving.is_under_way {
            Blocked::Unreserved
        } else {
            Blocked::Nothing
        }
    }

    pub(super) fn reserve(&mut self, now_ms: u64) {
        if !self.is_immediate() {
            return;
        }
        if self.releasing {
            self.give_back();
        } else if !self.reserving.is_under_way {
            self.reserve_more(now_ms);
        }
    }

    fn reserve_more(&mut self, now_ms: u64) {
        let wanted = self.wanted_at_once().min(RESERVED_MAX);
        let reserved = self.outstanding.pending_len() as u64;
        if wanted == 0 && reserved * 2 >= self.reserving.batch {
            return;
        }
        let is_soon = now_ms < self.reserving.since_ms + SOON_MS;
        let grown = if is_soon { (self.reserving.batch * 2).min(RESERVED_MAX) } else { 0 };
        let batch = grown.max(wanted);
        let mut count = 0;
        while count < batch {
            let id = self.ledger.first_missing(self.shelf.next());
            let Some(message) = self.shelf.get(id).filter(|_| id < self.shelf.ahead()) else { break };
            let tale = Tale::new(message.key(), Counts::default());
            self.outstanding.pass_over(id, tale, true);
            self.ledger.acknowledge(id..id + 1, now_ms);
            self.shelf.advance(id + 1);
            count += 1;
        }
        if count > 0 {
            self.reserving = Reserving { batch, since_ms: now_ms, is_under_way: true };
            self.ledger.hurry();
        }
    }

    /// The reservation under way is committed: from now on it may be handed out.
    pub(super) fn reserved(&mut self, committed: &IntervalSet) {
        if self.reserving.is_under_way {
            let ids: Vec<u64> = self.outstanding.pending().filter(|&id| committed.contains(id)).collect();
            self.reserving.is_under_way = ids.is_empty();
            ids.into_iter().for_each(|id| self.outstanding.release(id));
        }
    }

    fn give_back(&mut self) {
        if self.ledger.is_committing() {
            return;
        }
        let ids: Vec<u64> = self.outstanding.pending().collect();
        for &id in &ids {
            self.outstanding.remove(id);
        }
        self.ledger.give_back(ids);
    }
}
