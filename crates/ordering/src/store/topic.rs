//! Which (log, sequence) each ID of a topic is, and up to which ID all is readable here.

use std::collections::VecDeque;

use super::log::LogNo;

/// Index runs of a topic kept in memory; older ones are read from disk.
pub const RECENT_RUNS_MAX: usize = 256;

/// IDs `first` … `first + count - 1` are the records `seq` … of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRun {
    pub first: u64,
    pub log: LogNo,
    pub seq: u64,
    pub count: u64,
}

impl IndexRun {
    pub fn end(&self) -> u64 {
        self.first + self.count
    }

    /// The sequence of `id`, which must be in the run.
    pub fn seq_of(&self, id: u64) -> u64 {
        self.seq + (id - self.first)
    }

    fn continues(&self, next: &Self) -> bool {
        self.log == next.log && self.end() == next.first && self.seq + self.count == next.seq
    }
}

/// Where a watermark has come to a halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Everything that is indexed is readable.
    AtEnd,
    /// This record is not on disk yet.
    Record(LogNo, u64),
    /// The runs from this ID on are not in memory.
    Index(u64),
}

/// One topic.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    /// Opaque here.
    pub options: Vec<u8>,
    pub deleted: bool,
    /// Next ID by facts that were taken, on disk or not.
    pub staged_next: u64,
    /// The last time at which IDs were given, and the first of them, as far as facts have told since the start; on disk
    /// or not.
    last_ordered: Option<(u64, u64)>,
    /// Next ID by facts that are on disk.
    next: u64,
    /// First ID that is not readable.
    readable: u64,
    /// The last runs up to `next`, consecutive.
    recent: VecDeque<IndexRun>,
    /// Runs from disk, for a watermark that is far behind.
    ahead: VecDeque<IndexRun>,
}

impl Topic {
    pub fn new(name: String, options: Vec<u8>) -> Self {
        let (recent, ahead) = (VecDeque::new(), VecDeque::new());
        let (deleted, last_ordered) = (false, None);
        Self { name, options, deleted, staged_next: 1, last_ordered, next: 1, readable: 1, recent, ahead }
    }

    /// As found on disk.
    pub fn recover(&mut self, next: u64, readable: u64) {
        (self.staged_next, self.next, self.readable) = (next, next, readable);
    }

    /// IDs from `first` on were ordered at this time. Whether that is worth a row: times come in steps, and go on from one
    /// row to the next.
    pub(super) fn was_ordered(&mut self, first: u64, order_time_ms: u64) -> bool {
        let news = order_time_ms > 0 && self.last_ordered.is_none_or(|(_, last)| order_time_ms > last);
        if news {
            self.last_ordered = Some((first, order_time_ms));
        }
        news
    }

    /// When an ID was ordered, if it is one of the last; else the rows on disk say it.
    pub fn recent_order_time(&self, id: u64) -> Option<u64> {
        self.last_ordered.filter(|&(first, _)| (first..self.staged_next).contains(&id)).map(|(_, ms)| ms)
    }

    /// What is known of its times is on disk only.
    pub(super) fn forget_order_time(&mut self) {
        self.last_ordered = None;
    }

    pub fn next(&self) -> u64 {
        self.next
    }

    /// The highest ID that is readable here with all below it; 0 for none.
    pub fn watermark(&self) -> u64 {
        self.readable - 1
    }

    /// Facts on disk say so. `run` continues the topic.
    pub fn index(&mut self, run: IndexRun) {
        self.next = run.end();
        match self.recent.back_mut() {
            Some(last) if last.continues(&run) => last.count += run.count,
            Some(last) if last.end() != run.first => {
                self.recent.clear();
                self.recent.push_back(run);
            }
            _ => self.recent.push_back(run),
        }
        if self.recent.len() > RECENT_RUNS_MAX {
            self.recent.pop_front();
        }
    }

    /// The index on disk goes up to `next`; its runs are not in memory.
    pub fn jump(&mut self, next: u64) {
        if next > self.next {
            self.next = next;
            self.recent.clear();
        }
    }

    /// Runs from disk for a watermark that halted at [`Halt::Index`].
    pub fn loaded(&mut self, runs: impl IntoIterator<Item = IndexRun>) {
        self.ahead = runs.into_iter().collect();
    }

    /// The run of `id`, if it is in memory.
    pub fn find(&self, id: u64) -> Option<IndexRun> {
        let in_runs = |runs: &VecDeque<IndexRun>| {
            let at = runs.partition_point(|run| run.end() <= id);
            runs.get(at).filter(|run| run.first <= id).copied()
        };
        in_runs(&self.recent).or_else(|| in_runs(&self.ahead))
    }

    /// Runs from the one that has `id` on, as far as they are in memory, at most `max`.
    pub fn runs_from(&self, id: u64, max: usize) -> Vec<IndexRun> {
        let at = self.recent.partition_point(|run| run.end() <= id);
        let known = self.recent.get(at).is_some_and(|run| run.first <= id);
        if known { self.recent.range(at..).take(max).copied().collect() } else { Vec::new() }
    }

    /// Moves the watermark as far as records are on disk. Returns whether it moved, and why it does not go on.
    pub fn advance(&mut self, durable: impl Fn(LogNo) -> u64) -> (bool, Halt) {
        let before = self.readable;
        let halt = loop {
            let id = self.readable;
            if id >= self.next {
                break Halt::AtEnd;
            }
            let Some(run) = self.find(id) else { break Halt::Index(id) };
            let seq = run.seq_of(id);
            let on_disk = durable(run.log);
            if seq >= on_disk {
                break Halt::Record(run.log, seq);
            }
            // A log that is closed here has no end to wait for: `on_disk` is then the highest number.
            self.readable = run.end().min(self.next).min(id.saturating_add(on_disk - seq));
        };
        if self.recent.front().is_some_and(|first| first.first <= self.readable) || halt == Halt::AtEnd {
            self.ahead = VecDeque::new();
        }
        (self.readable > before, halt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, log: u32, seq: u64, count: u64) -> IndexRun {
        IndexRun { first, log: LogNo(log), seq, count }
    }

    #[test]
    fn the_watermark_halts_at_the_first_record_that_is_not_on_disk() {
        let mut topic = Topic::new("t".to_owned(), Vec::new());
        topic.index(run(1, 1, 1, 3));
        topic.index(run(4, 2, 10, 2));
        let durable = |one, two| move |log: LogNo| if log.0 == 1 { one } else { two };
        for (one, two, moved, watermark, halt) in [
            (1, 12, false, 0, Halt::Record(LogNo(1), 1)),
            (3, 12, true, 2, Halt::Record(LogNo(1), 3)),
            (4, 10, true, 3, Halt::Record(LogNo(2), 10)),
            (4, 12, true, 5, Halt::AtEnd),
            (9, 19, false, 5, Halt::AtEnd),
        ] {
            assert_eq!(topic.advance(durable(one, two)), (moved, halt));
            assert_eq!(topic.watermark(), watermark);
        }
    }

    #[test]
    fn the_watermark_passes_a_log_that_has_left_memory_whatever_its_ids_are() {
        let mut topic = Topic::new("t".to_owned(), Vec::new());
        topic.recover(9, 9);
        topic.index(run(9, 1, 1, 3));
        assert_eq!(topic.advance(|_| u64::MAX), (true, Halt::AtEnd));
        assert_eq!(topic.watermark(), 11);
    }

    #[test]
    fn a_row_is_worth_writing_where_order_time_has_moved_and_counts_until_the_next() {
        let mut topic = Topic::new("t".to_owned(), Vec::new());
        for (first, next, at_ms, news) in
            [(1, 3, 0, false), (3, 4, 500, true), (4, 9, 500, false), (9, 12, 700, true), (12, 13, 0, false)]
        {
            topic.staged_next = next;
            assert_eq!(topic.was_ordered(first, at_ms), news, "{first}");
        }
        assert_eq!(topic.recent_order_time(8), None, "that is for the disk to say");
        assert_eq!((topic.recent_order_time(9), topic.recent_order_time(12)), (Some(700), Some(700)));
        assert_eq!(topic.recent_order_time(13), None, "it has not been given yet");
        topic.forget_order_time();
        assert_eq!(topic.recent_order_time(12), None);
    }

    #[test]
    fn runs_that_continue_each_other_are_one_and_old_ones_leave_memory() {
        let mut topic = Topic::new("t".to_owned(), Vec::new());
        topic.index(run(1, 1, 1, 1));
        topic.index(run(2, 1, 2, 1));
        assert_eq!(topic.find(2), Some(run(1, 1, 1, 2)));
        for id in 3..1_000 {
            topic.index(run(id, 1, id * 2, 1));
        }
        assert_eq!(topic.find(2), None);
        assert_eq!(topic.find(999), Some(run(999, 1, 1_998, 1)));
        assert_eq!(topic.advance(|_| u64::MAX), (false, Halt::Index(1)));
        topic.loaded([run(1, 1, 1, 2), run(3, 1, 6, 1)]);
        assert_eq!(topic.advance(|_| u64::MAX), (true, Halt::Index(4)));
    }
}
