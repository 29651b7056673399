//! Which answers the pushes of one origin log still wait for.

use std::collections::VecDeque;
use std::time::Duration;

use crate::group::OrderedRun;

/// How far a push wants to be answered, beyond "accepted".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Stored,
    Ordered,
    Everywhere,
}

/// An answer for the push that `T` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    Stored {
        push: T,
        seq: u64,
        /// It was a duplicate, by the facts, when it came; that it was none then does not make it none.
        duplicate: bool,
    },
    /// 0: decided without an ID.
    Ordered {
        push: T,
        id: u64,
    },
    Everywhere {
        push: T,
    },
    /// Decided: a duplicate. What the first one has reached, others know.
    Duplicate {
        push: T,
    },
}

#[derive(Clone, Copy, Debug)]
struct Waiting<T> {
    seq: u64,
    push: T,
    level: Level,
    until: Duration,
    duplicate: bool,
    stored: bool,
    ordered: bool,
    done: bool,
}

/// The pushes of one log that wait, in order of their sequences.
#[derive(Clone, Debug)]
pub struct Appends<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Told so far (exclusive ends).
    stored: u64,
    everywhere: u64,
}

impl<T> Default for Appends<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), stored: 1, everywhere: 1 }
    }
}

impl<T: Copy> Appends<T> {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a record below `end` waits.
    pub fn waits_below(&self, end: u64) -> bool {
        self.waiting.front().is_some_and(|first| first.seq < end)
    }

    /// Record `seq`, higher than any before, waits until `until` at most. `duplicate`: it is known to be one.
    pub fn push(&mut self, seq: u64, push: T, level: Level, until: Duration, duplicate: bool) {
        self.waiting.push_back(Waiting {
            seq,
            push,
            level,
            until,
            duplicate,
            stored: false,
            ordered: false,
            done: false,
        });
    }

    /// Records up to `end` are on disk on two stores.
    pub fn stored(&mut self, end: u64, answers: &mut Vec<Answer<T>>) {
        if end <= self.stored {
            return;
        }
        let range = self.range(self.stored, end);
        self.stored = end;
        for waiting in self.waiting.range_mut(range) {
            waiting.tell_stored(answers);
        }
        self.drop_done();
    }

    /// The records from `from` on have these IDs, or none.
    pub fn ordered(&mut self, from: u64, runs: &[OrderedRun], answers: &mut Vec<Answer<T>>) {
        let mut seq = from;
        for run in runs {
            let range = self.range(seq, seq + run.count);
            let everywhere = self.everywhere;
            for waiting in self.waiting.range_mut(range) {
                if run.is_duplicate() {
                    waiting.tell_duplicate(answers);
                    continue;
                }
                let id = if run.first_id == 0 { 0 } else { run.first_id + (waiting.seq - seq) };
                waiting.tell_ordered(id, everywhere, answers);
            }
            seq += run.count;
        }
        self.drop_done();
    }

    /// Records up to `end` are on disk in every datacenter.
    pub fn everywhere(&mut self, end: u64, answers: &mut Vec<Answer<T>>) {
        if end <= self.everywhere {
            return;
        }
        let range = self.range(self.everywhere, end);
        self.everywhere = end;
        for waiting in self.waiting.range_mut(range) {
            if waiting.ordered && !waiting.done {
                answers.push(Answer::Everywhere { push: waiting.push });
                waiting.done = true;
            }
        }
        self.drop_done();
    }

    /// Nobody listens any more for those whose time is over, or whose stream is gone.
    pub fn expire(&mut self, now: Duration, gone: impl Fn(&T) -> bool) {
        self.waiting.retain(|waiting| !waiting.done && waiting.until > now && !gone(&waiting.push));
    }

    fn range(&self, from: u64, to: u64) -> std::ops::Range<usize> {
        let at = |seq| self.waiting.partition_point(|waiting| waiting.seq < seq);
        at(from)..at(to)
    }

    fn drop_done(&mut self) {
        while self.waiting.front().is_some_and(|waiting| waiting.done) {
            self.waiting.pop_front();
        }
    }
}

impl<T: Copy> Waiting<T> {
    fn tell_stored(&mut self, answers: &mut Vec<Answer<T>>) {
        if self.stored || self.done {
            return;
        }
        answers.push(Answer::Stored { push: self.push, seq: self.seq, duplicate: self.duplicate });
        self.stored = true;
        self.done = self.level == Level::Stored;
    }

    fn tell_duplicate(&mut self, answers: &mut Vec<Answer<T>>) {
        self.duplicate = true;
        self.tell_stored(answers);
        if !self.done {
            answers.push(Answer::Duplicate { push: self.push });
            self.done = true;
        }
    }

    /// What has an ID is on disk on two stores: it is stored, whether its acknowledgement has come back or not.
    fn tell_ordered(&mut self, id: u64, everywhere: u64, answers: &mut Vec<Answer<T>>) {
        self.tell_stored(answers);
        if self.done || self.ordered {
            return;
        }
        answers.push(Answer::Ordered { push: self.push, id });
        self.ordered = true;
        self.done = self.level == Level::Ordered;
        if !self.done && self.seq < everywhere {
            answers.push(Answer::Everywhere { push: self.push });
            self.done = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Produced, ProducerId, TopicId};

    use super::*;

    const LATE: Duration = Duration::from_secs(60);

    fn run(first_id: u64, count: u64) -> OrderedRun {
        OrderedRun { topic: TopicId(1), first_id, count, produced: None }
    }

    fn stored(push: char, seq: u64) -> Answer<char> {
        Answer::Stored { push, seq, duplicate: false }
    }

    fn three() -> Appends<char> {
        let mut appends = Appends::default();
        appends.push(1, 'a', Level::Stored, LATE, false);
        appends.push(3, 'b', Level::Ordered, LATE, false);
        appends.push(4, 'c', Level::Everywhere, LATE, false);
        appends
    }

    #[test]
    fn each_push_is_answered_up_to_its_level_and_once() {
        let (mut appends, mut out) = (three(), Vec::new());
        appends.stored(4, &mut out);
        appends.stored(4, &mut out);
        assert_eq!(out, [stored('a', 1), stored('b', 3)]);
        out.clear();
        appends.everywhere(9, &mut out);
        assert_eq!(out, [], "everywhere is told after ordered");
        appends.ordered(1, &[run(7, 2), run(0, 1), run(20, 2)], &mut out);
        assert_eq!(
            out,
            [
                Answer::Ordered { push: 'b', id: 0 },
                stored('c', 4),
                Answer::Ordered { push: 'c', id: 20 },
                Answer::Everywhere { push: 'c' },
            ]
        );
        assert!(appends.is_empty());
    }

    #[test]
    fn everywhere_comes_when_the_last_datacenter_has_it() {
        let (mut appends, mut out) = (three(), Vec::new());
        appends.ordered(3, &[run(1, 2)], &mut out);
        out.clear();
        appends.everywhere(4, &mut out);
        assert_eq!(out, []);
        appends.everywhere(5, &mut out);
        assert_eq!(out, [Answer::Everywhere { push: 'c' }]);
    }

    #[test]
    fn a_duplicate_is_told_as_such_at_any_level_and_nothing_more_of_it() {
        let (mut appends, mut out) = (three(), Vec::new());
        appends.push(5, 'd', Level::Stored, LATE, true);
        appends.stored(2, &mut out);
        let produced = Some(Produced { producer: ProducerId([1; 16]), sequence: 4 });
        appends.ordered(1, &[OrderedRun { produced, ..run(0, 3) }, run(8, 1)], &mut out);
        appends.stored(9, &mut out);
        appends.everywhere(9, &mut out);
        assert_eq!(
            out,
            [
                stored('a', 1),
                Answer::Stored { push: 'b', seq: 3, duplicate: true },
                Answer::Duplicate { push: 'b' },
                stored('c', 4),
                Answer::Ordered { push: 'c', id: 8 },
                Answer::Stored { push: 'd', seq: 5, duplicate: true },
                Answer::Everywhere { push: 'c' },
            ]
        );
        assert!(appends.is_empty());
    }

    #[test]
    fn nobody_is_answered_after_his_patience() {
        let (mut appends, mut out) = (three(), Vec::new());
        appends.expire(Duration::from_secs(1), |&push| push == 'b');
        assert_eq!(appends.len(), 2);
        appends.expire(LATE, |_| false);
        appends.stored(9, &mut out);
        assert_eq!(out, []);
    }
}
