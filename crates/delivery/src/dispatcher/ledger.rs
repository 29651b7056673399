//! What is acknowledged, and the commits that follow behind.

use trunkline_types::IntervalSet;
use trunkline_types::limits::{COMMIT_DELAY, HANDED_OUT_COMMIT_AT, HANDED_OUT_MAX, WAITING_ACKS_MAX};

use super::Effect;
use super::effect::{AckRefusal, Expired};

const COMMIT_DELAY_MS: u64 = 200;
const _: () = assert!(COMMIT_DELAY.as_millis() == COMMIT_DELAY_MS as u128);

/// An Ack that waits for the commit of what it acknowledges.
#[derive(Debug)]
pub(super) struct WaitingAck {
    pub(super) number: u64,
    pub(super) deadline_ms: u64,
    /// What could not be acknowledged: then the answer is an error, though the rest counts.
    pub(super) expired: Option<Expired>,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    acknowledged: IntervalSet,
    acks: Vec<WaitingAck>,
    /// Handed out when it was proposed: a success confirms the token as of then.
    handed_out: u64,
}

#[derive(Debug)]
pub(super) struct Ledger {
    start_id: u64,
    /// Committed or accepted here.
    acknowledged: IntervalSet,
    /// Accepted here and in no commit yet.
    fresh: IntervalSet,
    fresh_since_ms: u64,
    /// For the next commit.
    acks: Vec<WaitingAck>,
    in_flight: Option<InFlight>,
    commits: u64,
    not_before_ms: u64,
    handed_out: u64,
    handed_out_confirmed: u64,
    /// Something says that there may be a newer dispatcher: ask by a commit.
    doubted: bool,
}

impl Ledger {
    pub(super) fn new(start_id: u64, acknowledged: IntervalSet) -> Self {
        Self {
            start_id,
            acknowledged,
            fresh: IntervalSet::new(),
            fresh_since_ms: 0,
            acks: Vec::new(),
            in_flight: None,
            commits: 0,
            not_before_ms: 0,
            handed_out: 0,
            handed_out_confirmed: 0,
            doubted: false,
        }
    }

    /// The lowest ID that is not acknowledged.
    pub(super) fn lowest(&self) -> u64 {
        self.acknowledged.first_missing(self.start_id)
    }

    pub(super) fn first_missing(&self, from: u64) -> u64 {
        self.acknowledged.first_missing(from)
    }

    pub(super) fn missing(&self, range: std::ops::Range<u64>) -> Vec<std::ops::Range<u64>> {
        self.acknowledged.missing(range)
    }

    pub(super) fn is_acknowledged(&self, id: u64) -> bool {
        id < self.start_id || self.acknowledged.contains(id)
    }

    pub(super) fn acknowledge(&mut self, range: std::ops::Range<u64>, now_ms: u64) {
        for new in self.acknowledged.missing(range) {
            if self.fresh.is_empty() {
                self.fresh_since_ms = now_ms;
            }
            self.acknowledged.insert(new.clone());
            self.fresh.insert(new);
        }
    }

    /// How many may still be handed out before a commit must succeed.
    pub(super) fn may_hand_out(&self) -> u64 {
        HANDED_OUT_MAX.saturating_sub(self.unconfirmed())
    }

    pub(super) fn hand_out(&mut self) {
        self.handed_out += 1;
    }

    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Answers an Ack when everything it acknowledges is committed.
    pub(super) fn answer_when_committed<M>(
        &mut self,
        ack: WaitingAck,
        ids: &[u64],
        effects: &mut Vec<Effect<M>>,
    ) {
        let waiting = self.acks.len() + self.in_flight.as_ref().map_or(0, |commit| commit.acks.len());
        let in_flight = self.in_flight.as_mut().filter(|commit| overlaps(&commit.acknowledged, ids));
        if waiting >= WAITING_ACKS_MAX {
            effects.push(Effect::AckRefused { ack: ack.number, why: AckRefusal::TooManyWaiting });
        } else if overlaps(&self.fresh, ids) {
            self.acks.push(ack);
        } else if let Some(commit) = in_flight {
            commit.acks.push(ack);
        } else {
            effects.push(answer(ack));
        }
    }

    /// Begins the next commit if it is time for one. (`now`: do not wait for more.)
    pub(super) fn commit_if_due<M>(&mut self, now_ms: u64, at_once: bool, effects: &mut Vec<Effect<M>>) {
        if self.in_flight.is_some() || self.wake_at(at_once).is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        self.commits += 1;
        self.doubted = false;
        let commit = InFlight {
            number: self.commits,
            acknowledged: std::mem::take(&mut self.fresh),
            acks: std::mem::take(&mut self.acks),
            handed_out: self.handed_out,
        };
        effects.push(Effect::Commit { number: commit.number, acknowledged: commit.acknowledged.clone() });
        self.in_flight = Some(commit);
    }

    /// When the next commit is due; `None` while there is nothing to commit, or one is under way.
    pub(super) fn wake_at(&self, at_once: bool) -> Option<u64> {
        if self.in_flight.is_some() {
            return None;
        }
        let pressed = self.doubted || !self.acks.is_empty() || self.unconfirmed() >= HANDED_OUT_COMMIT_AT;
        if pressed || (at_once && !self.fresh.is_empty()) {
            Some(self.not_before_ms)
        } else if self.fresh.is_empty() {
            None
        } else {
            Some(self.not_before_ms.max(self.fresh_since_ms + COMMIT_DELAY_MS))
        }
    }

    pub(super) fn committed<M>(&mut self, number: u64, effects: &mut Vec<Effect<M>>) {
        if let Some(commit) = self.in_flight.take_if(|commit| commit.number == number) {
            self.handed_out_confirmed = commit.handed_out;
            self.not_before_ms = 0;
            effects.extend(commit.acks.into_iter().map(answer));
        }
    }

    /// Its outcome is unknown, or it was not proposed: its content goes with the next one.
    pub(super) fn failed(&mut self, number: u64, now_ms: u64, retry_ms: u64) {
        if let Some(mut commit) = self.in_flight.take_if(|commit| commit.number == number) {
            for range in commit.acknowledged.iter() {
                self.fresh.insert(range);
            }
            commit.acks.append(&mut self.acks);
            self.acks = commit.acks;
            self.fresh_since_ms = now_ms;
            self.not_before_ms = now_ms + retry_ms;
        }
    }

    pub(super) fn is_in_flight(&self, number: u64) -> bool {
        self.in_flight.as_ref().is_some_and(|commit| commit.number == number)
    }

    /// Nothing is waiting to be committed.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight.is_none() && self.fresh.is_empty() && self.acks.is_empty()
    }

    pub(super) fn time_out_acks<M>(&mut self, now_ms: u64, effects: &mut Vec<Effect<M>>) {
        let in_flight = self.in_flight.as_mut().map(|commit| &mut commit.acks);
        for acks in std::iter::once(&mut self.acks).chain(in_flight) {
            acks.retain(|ack| {
                let in_time = now_ms < ack.deadline_ms;
                if !in_time {
                    effects.push(Effect::AckRefused { ack: ack.number, why: AckRefusal::Uncommitted });
                }
                in_time
            });
        }
    }

    pub(super) fn next_ack_deadline(&self) -> Option<u64> {
        let in_flight = self.in_flight.iter().flat_map(|commit| &commit.acks);
        self.acks.iter().chain(in_flight).map(|ack| ack.deadline_ms).min()
    }

    /// All acks that wait, in order: the subscription is somebody else's now.
    pub(super) fn take_acks(&mut self) -> Vec<WaitingAck> {
        let mut acks = self.in_flight.take().map(|commit| commit.acks).unwrap_or_default();
        acks.append(&mut self.acks);
        acks
    }

    fn unconfirmed(&self) -> u64 {
        self.handed_out - self.handed_out_confirmed
    }
}

fn overlaps(set: &IntervalSet, ids: &[u64]) -> bool {
    !set.is_empty() && ids.iter().any(|&id| set.contains(id))
}

fn answer<M>(ack: WaitingAck) -> Effect<M> {
    match ack.expired {
        None => Effect::Acked { ack: ack.number },
        Some(expired) => Effect::AckRefused { ack: ack.number, why: AckRefusal::Expired(expired) },
    }
}
