//! The spans of pushes that somebody records.

use std::collections::BTreeMap;
use std::time::Duration;

use trunkline_ordering::store::{Answer, Level};
use trunkline_ports::Span;

use super::Push;

#[derive(Debug)]
struct Waiting {
    span: Span,
    level: Level,
    until: Duration,
}

/// Those whose last answer is yet to come; empty while traces are off.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    waiting: BTreeMap<Push, Waiting>,
}

impl Recorded {
    /// The push waits for its level until `until` at most.
    pub(super) fn begin(&mut self, push: Push, span: Span, level: Level, until: Duration) {
        self.waiting.insert(push, Waiting { span, level, until });
    }

    /// Each answer is an event of the push's span, and the last one its end.
    pub(super) fn answered(&mut self, answer: &Answer<Push>) {
        let (push, level, event) = match answer {
            Answer::Stored { push, .. } => (push, Level::Stored, "stored"),
            Answer::Ordered { push, .. } => (push, Level::Ordered, "ordered"),
            Answer::Everywhere { push } => (push, Level::Everywhere, "everywhere"),
            Answer::Duplicate { push } => (push, Level::Everywhere, "duplicate"),
        };
        let Some(waiting) = self.waiting.get(push) else { return };
        waiting.span.event(event);
        if level >= waiting.level {
            self.waiting.remove(push);
        }
    }

    /// Nobody listens any more for those whose time is over, or whose stream is gone.
    pub(super) fn expire(&mut self, now: Duration, gone: impl Fn(&Push) -> bool) {
        self.waiting.retain(|push, waiting| waiting.until > now && !gone(push));
    }
}
