//! A group whose facts do not continue the index here: they will not the next moment either, so it is tried again ever
//! later, and told each time it is.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(300);

/// One group's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standstill {
    /// Begins again at this time; until then its facts are not taken.
    until: Option<Duration>,
    pause: Duration,
}

impl Standstill {
    /// Facts that did not continue the index have come; how long it is until others are taken.
    pub(super) fn begins(&mut self, now: Duration) -> Duration {
        self.pause = (2 * self.pause).clamp(FIRST, MAX);
        self.until = Some(now + self.pause);
        self.pause
    }

    /// Facts have continued the index.
    pub(super) fn is_over(&mut self) {
        *self = Self::default();
    }

    pub(super) fn stands(&self) -> bool {
        self.until.is_some()
    }

    /// True once it is time for a new session.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_ever_later_until_facts_continue_the_index() {
        let at = Duration::from_secs;
        let mut group = Standstill::default();
        assert!(!group.stands() && !group.is_due(at(9)));
        for (now, pause) in [(10, 1), (11, 2), (13, 4)] {
            assert_eq!(group.begins(at(now)), at(pause));
            assert!(group.stands() && !group.is_due(at(now + pause - 1)));
            assert!(group.is_due(at(now + pause)), "a new session");
            assert!(!group.stands() && !group.is_due(at(now + pause)), "once");
        }
        for _ in 0..20 {
            assert!(group.begins(at(99)) <= MAX);
        }
        group.is_over();
        assert_eq!(group.begins(at(100)), FIRST);
    }
}
