//! What is acknowledged, and the commits that follow behind.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use trunkline_types::IntervalSet;
use trunkline_types::limits::{COMMIT_DELAY, HANDED_OUT_COMMIT_AT, HANDED_OUT_MAX, WAITING_ACKS_MAX};

use super::Effect;
use super::effect::{AckRefusal, Expired};
use crate::position::Counts;

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

/// Acknowledged IDs of which it is remembered whose acknowledgement it was.
const ACKED_BY_MAX: usize = 20_000;

#[derive(Debug)]
struct InFlight {
    number: u64,
    acknowledged: IntervalSet,
    counts: BTreeMap<u64, Counts>,
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
    /// Changed here and in no commit yet.
    counts: BTreeMap<u64, Counts>,
    /// Reserved, committed, and not to be handed out any more.
    given_back: IntervalSet,
    /// By tokens of this dispatcher.
    acked_here: IntervalSet,
    /// Of those, the attempts of the client whose it was, where others had it before or after. Bounded.
    acked_by: BTreeMap<u64, RangeInclusive<u32>>,
    /// For the next commit.
    acks: Vec<WaitingAck>,
    in_flight: Option<InFlight>,
    commits: u64,
    not_before_ms: u64,
    handed_out: u64,
    handed_out_confirmed: u64,
    /// The next commit is wanted at once: somebody waits for it, or there may be a newer dispatcher.
    is_urgent: bool,
}

impl Ledger {
    pub(super) fn new(start_id: u64, acknowledged: IntervalSet) -> Self {
        Self {
            start_id,
            acknowledged,
            fresh: IntervalSet::new(),
            fresh_since_ms: 0,
            counts: BTreeMap::new(),
            given_back: IntervalSet::new(),
            acked_here: IntervalSet::new(),
            acked_by: BTreeMap::new(),
            acks: Vec::new(),
            in_flight: None,
            commits: 0,
            not_before_ms: 0,
            handed_out: 0,
            handed_out_confirmed: 0,
            is_urgent: false,
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
            self.changes(now_ms);
            self.counts.retain(|id, _| !new.contains(id));
            self.acknowledged.insert(new.clone());
            self.fresh.insert(new);
        }
    }

    /// By a token of this dispatcher: of these attempts it is told again that it is acknowledged, of others not.
    pub(super) fn acknowledge_by(&mut self, id: u64, attempts: RangeInclusive<u32>, now_ms: u64) {
        self.acknowledge(id..id + 1, now_ms);
        self.acked_here.insert(id..id + 1);
        if attempts != (1..=u32::MAX) {
            self.acked_by.insert(id, attempts);
            if self.acked_by.len() > ACKED_BY_MAX {
                self.acked_by.pop_first();
            }
        }
    }

    /// Whether a token's client is the one that has acknowledged the message. `attempt`: of this dispatcher, if it is.
    pub(super) fn was_acknowledged_by(&self, id: u64, attempt: Option<u32>) -> bool {
        if !self.acked_here.contains(id) {
            return true;
        }
        let attempts = self.acked_by.get(&id);
        attempt.is_some_and(|attempt| attempts.is_none_or(|attempts| attempts.contains(&attempt)))
    }

    /// Delivered in vain, so often.
    pub(super) fn count(&mut self, counts: impl IntoIterator<Item = (u64, Counts)>, now_ms: u64) {
        for (id, counts) in counts {
            self.changes(now_ms);
            self.counts.insert(id, counts);
        }
    }

    /// Reserved and not handed out: another dispatcher may.
    pub(super) fn give_back(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.fresh.remove(id..id + 1);
            self.given_back.insert(id..id + 1);
        }
    }

    fn changes(&mut self, now_ms: u64) {
        if self.fresh.is_empty() && self.counts.is_empty() {
            self.fresh_since_ms = now_ms;
        }
    }

    fn has_changed(&self) -> bool {
        !(self.fresh.is_empty() && self.counts.is_empty() && self.given_back.is_empty())
    }

    /// How many may still be handed out before a commit must succeed.
    pub(super) fn may_hand_out(&self) -> u64 {
        HANDED_OUT_MAX.saturating_sub(self.unconfirmed())
    }

    pub(super) fn hand_out(&mut self) {
        self.handed_out += 1;
    }

    /// The next commit is wanted at once.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
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
        self.is_urgent = false;
        let commit = InFlight {
            number: self.commits,
            acknowledged: std::mem::take(&mut self.fresh),
            counts: std::mem::take(&mut self.counts),
            acks: std::mem::take(&mut self.acks),
            handed_out: self.handed_out,
        };
        effects.push(Effect::Commit {
            number: commit.number,
            acknowledged: commit.acknowledged.clone(),
            counts: commit.counts.clone(),
            given_back: self.given_back.clone(),
        });
        self.in_flight = Some(commit);
    }

    /// When the next commit is due; `None` while there is nothing to commit, or one is under way.
    pub(super) fn wake_at(&self, at_once: bool) -> Option<u64> {
        if self.in_flight.is_some() {
            return None;
        }
        let pressed = self.is_urgent || !self.acks.is_empty() || self.unconfirmed() >= HANDED_OUT_COMMIT_AT;
        if pressed || (at_once && self.has_changed()) {
            Some(self.not_before_ms)
        } else if !self.has_changed() {
            None
        } else {
            Some(self.not_before_ms.max(self.fresh_since_ms + COMMIT_DELAY_MS))
        }
    }

    /// Returns what is acknowledged for good now.
    pub(super) fn committed<M>(&mut self, number: u64, effects: &mut Vec<Effect<M>>) -> IntervalSet {
        let Some(commit) = self.in_flight.take_if(|commit| commit.number == number) else {
            return IntervalSet::new();
        };
        self.handed_out_confirmed = commit.handed_out;
        self.not_before_ms = 0;
        self.given_back = IntervalSet::new();
        effects.extend(commit.acks.into_iter().map(answer));
        commit.acknowledged
    }

    /// Its outcome is unknown, or it was not proposed: its content goes with the next one.
    pub(super) fn failed(&mut self, number: u64, now_ms: u64, retry_ms: u64) {
        if let Some(mut commit) = self.in_flight.take_if(|commit| commit.number == number) {
            for range in commit.acknowledged.iter() {
                self.fresh.insert(range);
            }
            for (id, counts) in commit.counts {
                if !self.acknowledged.contains(id) {
                    self.counts.entry(id).or_insert(counts);
                }
            }
            commit.acks.append(&mut self.acks);
            self.acks = commit.acks;
            self.fresh_since_ms = now_ms;
            self.not_before_ms = now_ms + retry_ms;
        }
    }

    pub(super) fn is_committing(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(super) fn is_in_flight(&self, number: u64) -> bool {
        self.in_flight.as_ref().is_some_and(|commit| commit.number == number)
    }

    /// Nothing is waiting to be committed.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight.is_none() && !self.has_changed() && self.acks.is_empty()
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
