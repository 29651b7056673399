//! When to read, and what an absence of messages says.

use trunkline_types::limits::DELIVERY_WINDOW_MAX;

use super::Dispatcher;
use super::effect::{Effect, Wanted};
use super::shelf::Payload;

/// What was delivered before, and is read again, comes so many at a time.
const AGAIN_MESSAGES_MAX: u64 = 100;
const AGAIN_BYTES_MAX: u64 = 1 << 20;
/// A store that gave a message and now does not is asked again after so long.
const AGAIN_RETRY_MS: u64 = 100;

/// A read that does not wait.
#[derive(Debug)]
struct AtOnce {
    wanted: Wanted,
    /// Of what was delivered before; else of what is ahead, to know whether there is anything.
    again: bool,
}

#[derive(Debug, Default)]
pub(super) struct Reading {
    begun: u64,
    /// Of what is ahead, for a first message to come.
    waiting: Option<Wanted>,
    at_once: Option<AtOnce>,
    /// The last read ahead that found nothing, by its number.
    empty: u64,
    not_before_ms: u64,
    /// A read is wanted and waits for `not_before_ms`.
    delayed: bool,
    /// When somebody is to be told that there is nothing, which is to be made sure of.
    check_at_ms: Option<u64>,
    /// The last read that failed because this ID is corrupt, by its number.
    damaged: Option<(u64, u64)>,
    /// The last read ahead did not bring all that there was.
    more: bool,
}

impl Reading {
    /// How many reads have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether a read that began after a Pop came has found nothing ahead. What began before says nothing: the store
    /// may have a message since, and its answer be on the way. `begun`: reads that had begun when it came.
    pub(super) fn found_nothing_since(&self, begun: u64) -> bool {
        self.empty > begun
    }

    /// The ID that a read which began after a Pop came has found corrupt on every replica.
    pub(super) fn found_damaged_since(&self, begun: u64) -> Option<u64> {
        self.damaged.filter(|&(number, _)| number > begun).map(|(_, id)| id)
    }

    /// Nothing is read ahead until the next Pop, and what is under way is of no use any more.
    pub(super) fn stop(&mut self) {
        (self.waiting, self.at_once) = (None, None);
        self.more = false;
    }

    /// When [`super::Event::Time`] is needed.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let retry_at = self.delayed.then_some(self.not_before_ms);
        [retry_at, self.check_at_ms].into_iter().flatten().min()
    }

    /// The read that a result belongs to, unless it is of no use any more.
    fn finish(&mut self, number: u64) -> Option<AtOnce> {
        let waited = self.waiting.take_if(|wanted| wanted.number == number);
        let waited = waited.map(|wanted| AtOnce { wanted, again: false });
        waited.or_else(|| self.at_once.take_if(|read| read.wanted.number == number))
    }

    fn failed(&mut self, now_ms: u64, retry_ms: u64) {
        self.not_before_ms = now_ms + retry_ms;
    }

    /// A read is wanted: whether it is not too soon after a failure.
    fn may_begin(&mut self, now_ms: u64) -> bool {
        self.delayed = self.not_before_ms > now_ms;
        !self.delayed
    }

    fn begin(&mut self, from: u64, room: (u64, u64), wait: bool) -> Wanted {
        self.begun += 1;
        let (messages_max, bytes_max) = room;
        Wanted { number: self.begun, from, messages_max, bytes_max, wait }
    }

    fn begin_waiting(&mut self, from: u64, room: (u64, u64)) -> Wanted {
        let wanted = self.begin(from, room, true);
        self.waiting = Some(wanted);
        wanted
    }

    fn begin_at_once(&mut self, from: u64, room: (u64, u64), again: bool) -> Wanted {
        let wanted = self.begin(from, room, false);
        self.at_once = Some(AtOnce { wanted, again });
        wanted
    }
}

impl<M: Payload> Dispatcher<M> {
    pub(super) fn read(
        &mut self,
        now_ms: u64,
        number: u64,
        messages: impl Iterator<Item = (u64, M)>,
        more: bool,
    ) {
        let Some(AtOnce { wanted, again }) = self.reading.finish(number) else { return };
        (self.reading.damaged, self.reading.not_before_ms) = (None, 0);
        if again {
            self.read_again(now_ms, wanted.from, messages);
            return;
        }
        let mut is_empty = true;
        for (id, message) in messages {
            is_empty = false;
            if !self.put_ahead(id, message) {
                break;
            }
        }
        self.reading.more = more;
        if is_empty {
            self.reading.empty = wanted.number;
        }
    }

    fn read_again(&mut self, now_ms: u64, from: u64, messages: impl Iterator<Item = (u64, M)>) {
        for (id, message) in messages {
            if self.outstanding.knows(id) {
                self.shelf.put(from, id, message);
            }
        }
        let is_needed = self.outstanding.knows(from) && from >= self.earliest;
        if is_needed && self.shelf.get(from).is_none() {
            self.reading.failed(now_ms, AGAIN_RETRY_MS);
        }
    }

    pub(super) fn read_failed(&mut self, now_ms: u64, number: u64, retry_ms: u64, damaged: Option<u64>) {
        if self.reading.finish(number).is_some() {
            self.reading.damaged = damaged.map(|id| (number, id));
            self.reading.failed(now_ms, retry_ms);
        }
    }

    /// `missing` was delivered before, and somebody waits for it.
    pub(super) fn read_if_wanted(&mut self, now_ms: u64, missing: Option<u64>, effects: &mut Vec<Effect<M>>) {
        (self.reading.delayed, self.reading.check_at_ms) = (false, None);
        if let Some(id) = missing {
            if self.reading.at_once.is_none() && self.reading.may_begin(now_ms) {
                let room = (AGAIN_MESSAGES_MAX, AGAIN_BYTES_MAX);
                effects.push(Effect::Read(self.reading.begin_at_once(id, room, true)));
            }
            return;
        }
        let from = self.ledger.first_missing(self.shelf.ahead());
        let in_window = from.saturating_sub(self.lowest()) < DELIVERY_WINDOW_MAX;
        // At the topic's end nothing is read for nobody: who comes next asks anyway.
        let is_of_use = self.reading.more || !self.waiting.is_empty();
        if !is_of_use || !in_window || self.releasing || !self.shelf.has_room_ahead() {
            return;
        }
        let check_at = self.check_at();
        let checks = check_at.is_some_and(|at_ms| at_ms <= now_ms);
        self.reading.check_at_ms = check_at.filter(|_| !checks);
        // What a check brings need not be read ahead; so one that waits begins after it.
        let is_free = self.reading.at_once.is_none() && (checks || self.reading.waiting.is_none());
        if is_free && self.reading.may_begin(now_ms) {
            let room = self.shelf.room_ahead();
            let wanted = if checks {
                self.reading.begin_at_once(from, room, false)
            } else {
                self.reading.begin_waiting(from, room)
            };
            effects.push(Effect::Read(wanted));
        }
    }

    /// False when something is missing before `id`.
    fn put_ahead(&mut self, id: u64, message: M) -> bool {
        let wanted = self.ledger.first_missing(self.shelf.ahead());
        if id > wanted {
            return false;
        }
        if id == wanted {
            self.shelf.put_ahead(id, message);
        }
        true
    }

    /// IDs below `earliest` will never be read: what was not handed out yet is told as expired.
    pub(super) fn expire_below(&mut self, earliest: u64) {
        if earliest <= self.earliest {
            return;
        }
        self.earliest = earliest;
        let from = self.shelf.next();
        if from < earliest {
            for range in self.ledger.missing(from..earliest) {
                self.notices.add(range);
            }
            self.shelf.expire(earliest);
        }
    }
}
