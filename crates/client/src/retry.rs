//! Whether a failed call is tried again: pure rules on the error, within a budget.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::status::{is_not_stored, reason, reason_of, retry_after, unavailable};
use trunkline_wire::v1::Message;
use trunkline_wire::{Code, Status};

/// What a call risks when it is made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: reads, and whatever answers the same the second time.
    Idempotent,
    /// A duplicate, unless it is certain that nothing was stored.
    Push,
    /// A push of messages that have producer ids: nothing, and what it may have stored stays unknown.
    Produced,
}

impl Kind {
    /// Of a push of these.
    pub(crate) fn of_push(messages: &[Message]) -> Self {
        let named = messages.iter().all(|message| !message.producer_id.is_empty());
        if named { Self::Produced } else { Self::Push }
    }
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The error is the answer.
    Final,
    /// Another endpoint may do better. `suspect`: so will it for other calls.
    Elsewhere { suspect: bool },
    /// After this delay, wherever.
    After(Duration),
}

/// The same error where an earlier attempt may have stored what this one did not.
pub(crate) fn uncertain(error: &Status) -> Status {
    if !is_not_stored(error) {
        return error.clone();
    }
    match reason_of(error) {
        Some(reason) if error.code() == Code::Unavailable => unavailable(&reason, error.message()),
        _ => Status::new(error.code(), error.message()),
    }
}

/// Decides by the error rules of the API (docs/errors.md).
pub(crate) fn verdict(kind: Kind, error: &Status) -> Verdict {
    if kind == Kind::Push && !is_not_stored(error) {
        return Verdict::Final;
    }
    let because = reason_of(error);
    let because = because.as_deref();
    match error.code() {
        // Other disks may have room.
        Code::ResourceExhausted if because == Some(reason::DISK_FULL) => {
            Verdict::Elsewhere { suspect: false }
        }
        Code::ResourceExhausted => retry_after(error).map_or(Verdict::Final, Verdict::After),
        Code::Unavailable => {
            let suspect = matches!(because, None | Some(reason::UNREACHABLE | reason::DRAINING));
            Verdict::Elsewhere { suspect }
        }
        Code::FailedPrecondition if because == Some(reason::STALE) => Verdict::Elsewhere { suspect: false },
        Code::DeadlineExceeded | Code::Cancelled if kind != Kind::Push => {
            Verdict::Elsewhere { suspect: true }
        }
        _ => Verdict::Final,
    }
}

/// Retries are paid for by calls, so that clients do not multiply the load of a cluster that is in trouble.
/// (Finagle's retry budget.)
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// In tenths of a retry.
    tenths: u64,
    refilled: Instant,
}

/// Retries that may be made in a row by a client that was idle.
const RETRIES_MAX: u64 = 20;
/// A retry a second is free.
const FREE_EVERY: Duration = Duration::from_secs(1);

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tenths: RETRIES_MAX * 10, refilled: now }
    }

    /// Each call pays for a tenth of a retry.
    pub(crate) fn deposit(&mut self) {
        self.tenths = (self.tenths + 1).min(RETRIES_MAX * 10);
    }

    /// Whether a retry may be made.
    pub(crate) fn withdraw(&mut self, now: Instant) -> bool {
        while now.saturating_duration_since(self.refilled) >= FREE_EVERY {
            if self.tenths >= RETRIES_MAX * 10 {
                self.refilled = now;
                break;
            }
            self.refilled += FREE_EVERY;
            self.tenths += 10;
        }
        self.tenths = self.tenths.min(RETRIES_MAX * 10);
        let allowed = self.tenths >= 10;
        if allowed {
            self.tenths -= 10;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use trunkline_wire::status::{disk_full, invalid, not_found, not_stored, overloaded, unavailable};

    use super::*;

    #[test]
    fn a_push_is_retried_only_when_nothing_was_stored_and_reads_whenever_it_may_help() {
        let wait = Duration::from_millis(70);
        let gone = unavailable(reason::UNREACHABLE, "gone");
        let level = unavailable(reason::LEVEL_NOT_REACHED, "late");
        let away = Verdict::Elsewhere { suspect: true };
        let there = Verdict::Elsewhere { suspect: false };
        let table = [
            (gone.clone(), Verdict::Final, away),
            (not_stored(&gone), away, away),
            (not_stored(&unavailable(reason::DRAINING, "ending")), away, away),
            (not_stored(&unavailable(reason::NO_QUORUM, "cut off")), there, there),
            (level, Verdict::Final, there),
            (overloaded("full", wait), Verdict::After(wait), Verdict::After(wait)),
            (not_stored(&disk_full("full")), there, there),
            (Status::resource_exhausted("too many topics"), Verdict::Final, Verdict::Final),
            (Status::deadline_exceeded("late"), Verdict::Final, away),
            (Status::internal("bug"), Verdict::Final, Verdict::Final),
            (not_stored(&Status::internal("bug")), Verdict::Final, Verdict::Final),
            (invalid("topic", "is wrong"), Verdict::Final, Verdict::Final),
            (not_stored(&not_found("no topic")), Verdict::Final, Verdict::Final),
        ];
        for (error, push, read) in table {
            assert_eq!(verdict(Kind::Push, &error), push, "push: {error:?}");
            assert_eq!(verdict(Kind::Idempotent, &error), read, "read: {error:?}");
            assert_eq!(verdict(Kind::Produced, &error), read, "with a producer: {error:?}");
        }
    }

    #[test]
    fn what_an_earlier_attempt_may_have_stored_is_not_called_certain() {
        let gone = unavailable(reason::UNREACHABLE, "gone");
        for error in [not_stored(&gone), gone, overloaded("full", Duration::ZERO)] {
            let now = uncertain(&error);
            assert!(!is_not_stored(&now) && now.code() == error.code() && now.message() == error.message());
        }
    }

    #[test]
    fn retries_are_paid_for_by_calls_and_by_time() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert_eq!((0..100).filter(|_| budget.withdraw(start)).count(), 20);
        (0..30).for_each(|_| budget.deposit());
        assert_eq!((0..100).filter(|_| budget.withdraw(start)).count(), 3);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..100).filter(|_| budget.withdraw(later)).count(), 2);
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!((0..100).filter(|_| budget.withdraw(much_later)).count(), 20);
    }
}
