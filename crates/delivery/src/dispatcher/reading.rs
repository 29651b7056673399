//! When to read, and what an absence of messages says.

use super::effect::Wanted;

/// A wait that has lasted so long at a store says that there was nothing when it began.
const CHECKED_AFTER_MS: u64 = 50;
/// Without a Pop for so long, nothing is read ahead any more.
const IDLE_AFTER_MS: u64 = 10_000;
/// What was delivered before, and is read again, comes so many at a time.
const AGAIN_MESSAGES_MAX: u64 = 100;
const AGAIN_BYTES_MAX: u64 = 1 << 20;
/// A store that gave a message and now does not is asked again after so long.
pub(super) const AGAIN_RETRY_MS: u64 = 100;

#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) wanted: Wanted,
    /// Of what was delivered before.
    pub(super) again: bool,
    begun_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Reading {
    reads: u64,
    under_way: Option<UnderWay>,
    /// A read ahead has been answered since reading began.
    begun: bool,
    /// The last one brought nothing.
    drained: bool,
    failing: bool,
    not_before_ms: u64,
    /// A read is wanted and waits for `not_before_ms`.
    delayed: bool,
    pub(super) damaged: Option<u64>,
    last_pop_ms: u64,
}

impl Reading {
    pub(super) fn popped(&mut self, now_ms: u64) {
        self.last_pop_ms = now_ms;
    }

    /// Whether reading ahead is of use.
    pub(super) fn is_active(&self, now_ms: u64, is_awaited: bool) -> bool {
        is_awaited || now_ms < self.last_pop_ms + IDLE_AFTER_MS
    }

    /// Reading ahead has ended for now: what is known of the topic's end grows old.
    pub(super) fn pause(&mut self) {
        self.begun = false;
        self.drained = false;
    }

    /// Whether a read ahead, which is wanted, may begin.
    pub(super) fn may_begin(&mut self, now_ms: u64) -> bool {
        self.delayed = self.under_way.is_none() && self.not_before_ms > now_ms;
        self.under_way.is_none() && !self.delayed
    }

    /// A read of what was delivered before comes before one ahead, which may wait for long.
    pub(super) fn may_begin_again(&mut self, now_ms: u64) -> bool {
        let is_free = self.under_way.as_ref().is_none_or(|read| !read.again);
        self.delayed = is_free && self.not_before_ms > now_ms;
        is_free && !self.delayed
    }

    /// No read is wanted.
    pub(super) fn rest(&mut self) {
        self.delayed = false;
    }

    pub(super) fn begin_ahead(&mut self, from: u64, room: (u64, u64), now_ms: u64) -> Wanted {
        self.begin(false, from, room, self.begun, now_ms)
    }

    pub(super) fn begin_again(&mut self, from: u64, now_ms: u64) -> Wanted {
        self.begin(true, from, (AGAIN_MESSAGES_MAX, AGAIN_BYTES_MAX), false, now_ms)
    }

    fn begin(&mut self, again: bool, from: u64, room: (u64, u64), wait: bool, now_ms: u64) -> Wanted {
        self.reads += 1;
        let (messages_max, bytes_max) = room;
        let wanted = Wanted { number: self.reads, from, messages_max, bytes_max, wait };
        self.under_way = Some(UnderWay { wanted, again, begun_ms: now_ms });
        wanted
    }

    /// The read that a result belongs to, unless another has taken its place.
    pub(super) fn finish(&mut self, number: u64) -> Option<UnderWay> {
        self.under_way.take_if(|read| read.wanted.number == number)
    }

    pub(super) fn succeeded(&mut self, read: &UnderWay, brought_any: bool) {
        self.failing = false;
        self.damaged = None;
        self.not_before_ms = 0;
        if !read.again {
            self.begun = true;
            self.drained = !brought_any;
        }
    }

    pub(super) fn failed(&mut self, now_ms: u64, retry_ms: u64, damaged: Option<u64>) {
        self.failing = true;
        self.damaged = damaged;
        self.not_before_ms = now_ms + retry_ms;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// There was nothing to read ahead a moment ago.
    pub(super) fn knows_the_end(&self, now_ms: u64) -> bool {
        !self.failing && (self.drained || self.known_at().is_some_and(|at_ms| at_ms <= now_ms))
    }

    /// When a read that waits will have said enough by its silence.
    pub(super) fn known_at(&self) -> Option<u64> {
        let read = self.under_way.as_ref().filter(|read| read.wanted.wait)?;
        Some(read.begun_ms + CHECKED_AFTER_MS)
    }

    pub(super) fn retry_at(&self) -> Option<u64> {
        self.delayed.then_some(self.not_before_ms)
    }
}
