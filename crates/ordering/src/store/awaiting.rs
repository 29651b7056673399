//! Records of large payloads that a follower has taken and may not write yet: a record counts as held only with its
//! payload, and a log is written in order. Whose payload is fetched next, and which records may be written once one
//! has come.
//!
//! A payload that cannot be had gives its turn to the next; its record, and those behind it in its log, go on waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::log::LogNo;

#[derive(Clone, Debug)]
struct Waiting<T> {
    seq: u64,
    record: T,
    complete: bool,
}

/// All of one store, `T` being the record.
#[derive(Clone, Debug)]
pub struct Awaiting<T> {
    /// In order of their sequences; no log is empty.
    logs: BTreeMap<LogNo, VecDeque<Waiting<T>>>,
    /// Whose payload is to be fetched, in turn; some may have been dropped.
    queue: VecDeque<(LogNo, u64)>,
    fetching: BTreeSet<(LogNo, u64)>,
    count: usize,
    fetching_max: usize,
    count_max: usize,
}

impl<T> Awaiting<T> {
    /// At most `fetching_max` payloads are fetched at a time, at most `count_max` records wait.
    pub fn new(fetching_max: usize, count_max: usize) -> Self {
        let (logs, queue, fetching) = (BTreeMap::new(), VecDeque::new(), BTreeSet::new());
        Self { logs, queue, fetching, count: 0, fetching_max, count_max }
    }

    /// So many more may wait.
    pub fn room(&self) -> usize {
        self.count_max.saturating_sub(self.count)
    }

    /// A record that continues its log.
    pub fn push(&mut self, log: LogNo, seq: u64, record: T) {
        self.logs.entry(log).or_default().push_back(Waiting { seq, record, complete: false });
        self.queue.push_back((log, seq));
        self.count += 1;
    }

    pub fn get(&self, log: LogNo, seq: u64) -> Option<&T> {
        let waiting = self.logs.get(&log)?;
        waiting.get(position(waiting, seq)?).map(|waiting| &waiting.record)
    }

    /// The next payload to fetch, if one more may be.
    pub fn next_fetch(&mut self) -> Option<(LogNo, u64)> {
        while self.fetching.len() < self.fetching_max {
            let next = self.queue.pop_front()?;
            if self.get(next.0, next.1).is_some() {
                self.fetching.insert(next);
                return Some(next);
            }
        }
        None
    }

    /// The payload is on disk here. Returns the records that may be written now, in order.
    pub fn completed(&mut self, log: LogNo, seq: u64) -> Vec<(u64, T)> {
        self.fetching.remove(&(log, seq));
        let Some(waiting) = self.logs.get_mut(&log) else { return Vec::new() };
        if let Some(at) = position(waiting, seq) {
            waiting[at].complete = true;
        }
        let mut ready = Vec::new();
        while let Some(first) = waiting.pop_front_if(|first| first.complete) {
            ready.push((first.seq, first.record));
        }
        if waiting.is_empty() {
            self.logs.remove(&log);
        }
        self.count -= ready.len();
        ready
    }

    /// Nobody has given the payload: its turn comes again after all others.
    pub fn failed(&mut self, log: LogNo, seq: u64) {
        if self.fetching.remove(&(log, seq)) && self.get(log, seq).is_some() {
            self.queue.push_back((log, seq));
        }
    }

    /// Nothing of the log lies from `end` on.
    pub fn drop_from(&mut self, log: LogNo, end: u64) {
        let Some(waiting) = self.logs.get_mut(&log) else { return };
        let keep = waiting.partition_point(|waiting| waiting.seq < end);
        self.count -= waiting.len() - keep;
        waiting.truncate(keep);
        if waiting.is_empty() {
            self.logs.remove(&log);
        }
        self.fetching.retain(|&(other, seq)| other != log || seq < end);
    }
}

fn position<T>(waiting: &VecDeque<Waiting<T>>, seq: u64) -> Option<usize> {
    waiting.binary_search_by_key(&seq, |waiting| waiting.seq).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LogNo = LogNo(1);
    const B: LogNo = LogNo(2);

    fn five() -> Awaiting<char> {
        let mut awaiting = Awaiting::new(2, 6);
        for (log, seq, record) in [(A, 1, 'a'), (A, 2, 'b'), (B, 7, 'c'), (A, 3, 'd'), (B, 8, 'e')] {
            awaiting.push(log, seq, record);
        }
        awaiting
    }

    fn fetches(awaiting: &mut Awaiting<char>) -> Vec<(LogNo, u64)> {
        std::iter::from_fn(|| awaiting.next_fetch()).collect()
    }

    #[test]
    fn payloads_are_fetched_as_they_came_and_records_written_in_the_order_of_their_log() {
        let mut awaiting = five();
        assert_eq!(fetches(&mut awaiting), [(A, 1), (A, 2)]);
        assert_eq!(awaiting.completed(A, 2), [], "a comes first");
        assert_eq!(fetches(&mut awaiting), [(B, 7)]);
        assert_eq!(awaiting.completed(B, 7), [(7, 'c')], "another log does not wait");
        assert_eq!(awaiting.completed(A, 1), [(1, 'a'), (2, 'b')]);
        assert_eq!((awaiting.room(), awaiting.get(A, 3), awaiting.get(A, 2)), (4, Some(&'d'), None));
        assert_eq!(fetches(&mut awaiting), [(A, 3), (B, 8)]);
        assert_eq!(awaiting.completed(A, 3), [(3, 'd')]);
        assert_eq!(awaiting.completed(B, 8), [(8, 'e')]);
        assert_eq!((awaiting.room(), awaiting.next_fetch()), (6, None));
    }

    #[test]
    fn a_payload_that_cannot_be_had_lets_the_others_go_first() {
        let mut awaiting = five();
        assert_eq!(fetches(&mut awaiting), [(A, 1), (A, 2)]);
        awaiting.failed(A, 1);
        assert_eq!(fetches(&mut awaiting), [(B, 7)]);
        awaiting.failed(A, 2);
        awaiting.failed(A, 2);
        assert_eq!(fetches(&mut awaiting), [(A, 3)]);
        assert_eq!(awaiting.completed(A, 3), [], "its log waits");
        assert_eq!(awaiting.completed(B, 7), [(7, 'c')]);
        assert_eq!(fetches(&mut awaiting), [(B, 8), (A, 1)]);
    }

    #[test]
    fn what_lies_beyond_a_logs_end_is_waited_for_no_more() {
        let mut awaiting = five();
        assert_eq!(fetches(&mut awaiting), [(A, 1), (A, 2)]);
        awaiting.drop_from(A, 2);
        assert_eq!((awaiting.room(), awaiting.get(A, 2), awaiting.get(A, 1)), (3, None, Some(&'a')));
        assert_eq!(fetches(&mut awaiting), [(B, 7)], "the turn of the one that was dropped");
        awaiting.failed(A, 2);
        assert_eq!(awaiting.completed(A, 2), []);
        assert_eq!(awaiting.completed(A, 1), [(1, 'a')]);
        awaiting.drop_from(B, 1);
        assert_eq!((awaiting.room(), awaiting.next_fetch()), (6, None));
    }
}
