//! Who has seen what, and how fast: the bookkeeping of the load.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use trunkline_types::IntervalSet;

use super::payload::Mark;
use super::report::{Latency, Pair, Report, Surroundings};
use crate::output::round;

/// Latencies are kept in microseconds, up to two minutes, to three digits.
const MICROS_MAX: u64 = 120_000_000;

/// Which messages of each (origin, topic).
#[derive(Clone, Debug)]
struct Marks {
    topics: usize,
    sets: Vec<IntervalSet>,
    /// Seen before.
    again: u64,
}

impl Marks {
    fn new(origins: usize, topics: usize) -> Self {
        Self { topics, sets: vec![IntervalSet::new(); origins * topics], again: 0 }
    }

    fn insert(&mut self, mark: &Mark) {
        let Some(set) = self.sets.get_mut(mark.origin * self.topics + mark.topic) else { return };
        if set.insert(mark.sequence..mark.sequence + 1) == 0 {
            self.again += 1;
        }
    }

    fn len(&self) -> u64 {
        self.sets.iter().map(IntervalSet::len).sum()
    }

    /// What of `self` is missing in `seen`, put into `lost`.
    fn missing_in(&self, seen: &Self, lost: &mut Self) {
        for (place, set) in self.sets.iter().enumerate() {
            for range in set.iter() {
                for gap in seen.sets[place].missing(range) {
                    lost.sets[place].insert(gap);
                }
            }
        }
    }

    fn all_in(&self, seen: &Self) -> bool {
        let held =
            |(set, seen): (&IntervalSet, &IntervalSet)| set.iter().all(|range| seen.contains_range(range));
        self.sets.iter().zip(&seen.sets).all(held)
    }
}

/// Everything that is counted.
#[derive(Debug)]
struct Board {
    datacenters: usize,
    sent: u64,
    failed: u64,
    acked: Marks,
    /// By datacenter.
    push: Vec<Histogram<u64>>,
    pop: Vec<Histogram<u64>>,
    /// By origin, then reader's datacenter.
    visible: Vec<Histogram<u64>>,
    read: Vec<Marks>,
    /// By datacenter, then subscriber.
    popped: Vec<Marks>,
    deliveries: u64,
    /// The first failure of each kind of call, for people.
    first_failure: Option<String>,
}

/// The board, and by datacenter a bell that rings when something new can be read there. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    board: Arc<Mutex<Board>>,
    /// By datacenter and topic: messages that were read.
    readable: Arc<Vec<watch::Sender<u64>>>,
    topics: usize,
    subscribers: usize,
}

impl Shared {
    pub(super) fn new(datacenters: usize, topics: usize, subscribers: usize) -> Self {
        let histograms = |count| vec![histogram(); count];
        let marks = |count| vec![Marks::new(datacenters, topics); count];
        let board = Board {
            datacenters,
            sent: 0,
            failed: 0,
            acked: Marks::new(datacenters, topics),
            push: histograms(datacenters),
            pop: histograms(datacenters),
            visible: histograms(datacenters * datacenters),
            read: marks(datacenters),
            popped: marks(datacenters * subscribers),
            deliveries: 0,
            first_failure: None,
        };
        let bells = (0..datacenters * topics).map(|_| watch::channel(0).0).collect();
        Self { board: Arc::new(Mutex::new(board)), readable: Arc::new(bells), topics, subscribers }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self) {
        self.board().sent += 1;
    }

    pub(super) fn acked(&self, mark: &Mark, took: Duration) {
        let mut board = self.board();
        board.acked.insert(mark);
        record(&mut board.push[mark.origin], took);
    }

    pub(super) fn acked_count(&self) -> u64 {
        self.board().acked.len()
    }

    pub(super) fn failed(&self, why: &str) {
        let mut board = self.board();
        board.failed += 1;
        board.first_failure.get_or_insert_with(|| why.to_owned());
    }

    /// A reader of `datacenter` got these, each after so long.
    pub(super) fn read(&self, datacenter: usize, topic: usize, messages: &[(Mark, Duration)]) {
        let mut board = self.board();
        for (mark, age) in messages {
            board.read[datacenter].insert(mark);
            let pair = mark.origin * board.datacenters + datacenter;
            if let Some(visible) = board.visible.get_mut(pair) {
                record(visible, *age);
            }
        }
        drop(board);
        self.bell(datacenter, topic).send_modify(|read| *read += messages.len() as u64);
    }

    /// These were read in `datacenter` at the end: when they could first be read is not known.
    pub(super) fn swept(&self, datacenter: usize, marks: &[Mark]) {
        let mut board = self.board();
        marks.iter().for_each(|mark| board.read[datacenter].insert(mark));
    }

    /// Rings, with a count, when a topic has more to read in a datacenter.
    pub(super) fn readable(&self, datacenter: usize, topic: usize) -> watch::Receiver<u64> {
        self.bell(datacenter, topic).subscribe()
    }

    fn bell(&self, datacenter: usize, topic: usize) -> &watch::Sender<u64> {
        &self.readable[datacenter * self.topics + topic]
    }

    /// A subscriber got these; `took` where the pop's own time is known.
    pub(super) fn popped(
        &self,
        datacenter: usize,
        subscriber: usize,
        marks: &[Mark],
        took: Option<Duration>,
    ) {
        let mut board = self.board();
        if let Some(took) = took {
            record(&mut board.pop[datacenter], took);
        }
        board.deliveries += marks.len() as u64;
        let place = datacenter * self.subscribers + subscriber;
        marks.iter().for_each(|mark| board.popped[place].insert(mark));
    }

    /// Whether everyone has seen everything that was acknowledged.
    pub(super) fn complete(&self) -> bool {
        let board = self.board();
        board.read.iter().chain(&board.popped).all(|seen| board.acked.all_in(seen))
    }

    pub(super) fn progress(&self) -> String {
        let board = self.board();
        let acked = board.acked.len();
        format!(
            "{} sent, {acked} acknowledged, {} popped, {} failed",
            board.sent, board.deliveries, board.failed
        )
    }

    pub(super) fn report(
        &self,
        datacenters: &[String],
        pushed_for: Duration,
        replicated_for: Option<Duration>,
        surroundings: Surroundings,
    ) -> Report {
        let board = self.board();
        let acked = board.acked.len();
        let mut lost = Marks::new(board.datacenters, self.topics);
        board.read.iter().chain(&board.popped).for_each(|seen| board.acked.missing_in(seen, &mut lost));
        let named = |histograms: &[Histogram<u64>]| -> Vec<(String, Latency)> {
            let of = |(name, histogram): (&String, &Histogram<u64>)| {
                (name.clone(), latency(histogram, pushed_for))
            };
            datacenters.iter().zip(histograms).map(of).collect()
        };
        let pairs = board.visible.iter().enumerate().map(|(place, histogram)| Pair {
            from: datacenters[place / board.datacenters].clone(),
            to: datacenters[place % board.datacenters].clone(),
            latency: latency(histogram, pushed_for),
        });
        // Two IDs for one message show alike in every datacenter; two deliveries show where they were popped.
        let twice = board.read.iter().map(|seen| seen.again).max().unwrap_or(0);
        let redelivered: u64 = board.popped.iter().map(|seen| seen.again).sum();
        Report {
            push: latency(&sum(&board.push), pushed_for),
            pop: latency(&sum(&board.pop), pushed_for),
            visible: latency(&sum(&board.visible), pushed_for),
            push_by_datacenter: named(&board.push),
            pop_by_datacenter: named(&board.pop),
            visible_by_pair: pairs.collect(),
            sent: board.sent,
            acked,
            failed: board.failed,
            unanswered: board.sent.saturating_sub(acked + board.failed),
            first_failure: board.first_failure.clone(),
            popped: board.deliveries,
            lost: lost.len(),
            duplicated: twice + redelivered,
            replicated_rate: replicated_for.map(|time| per_second(acked, time)),
            wrong: board.contradictions(datacenters),
            surroundings,
        }
    }
}

impl Board {
    /// Nobody has seen what nobody sent, and what was seen was timed.
    fn contradictions(&self, datacenters: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        if self.acked.again > 0 {
            found.push(format!("{} messages were acknowledged twice", self.acked.again));
        }
        for (seen, name) in self.read.iter().zip(datacenters) {
            if seen.len() > self.sent {
                found.push(format!("{} of {} messages were read in {name}", seen.len(), self.sent));
            }
        }
        for (place, seen) in self.popped.iter().enumerate() {
            if seen.len() > self.sent {
                found.push(format!("subscriber {place} popped {} of {} messages", seen.len(), self.sent));
            }
        }
        found
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("valid bounds")
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
}

fn sum(histograms: &[Histogram<u64>]) -> Histogram<u64> {
    let mut all = histogram();
    for one in histograms {
        all.add(one).expect("the same bounds");
    }
    all
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: u64, over: Duration) -> f64 {
    round(count as f64 / over.as_secs_f64().max(0.001))
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn latency(histogram: &Histogram<u64>, over: Duration) -> Latency {
    let at = |quantile| round(histogram.value_at_quantile(quantile) as f64 / 1_000.0);
    if histogram.is_empty() {
        return Latency::default();
    }
    Latency { rate: per_second(histogram.len(), over), p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(origin: usize, sequence: u64) -> Mark {
        Mark { origin, topic: 0, sequence, at: Duration::ZERO }
    }

    fn board() -> Shared {
        Shared::new(2, 1, 1)
    }

    fn report(board: &Shared) -> Report {
        let names = ["nyc".to_owned(), "sea".to_owned()];
        board.report(&names, Duration::from_secs(2), Some(Duration::from_secs(4)), Surroundings::default())
    }

    fn see(board: &Shared, marks: &[Mark]) {
        let ages: Vec<_> = marks.iter().map(|&mark| (mark, Duration::from_millis(9))).collect();
        for datacenter in 0..2 {
            board.read(datacenter, 0, &ages);
            board.popped(datacenter, 0, marks, Some(Duration::from_millis(2)));
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_missing_for_anyone_is_lost_once() {
        let board = board();
        for sequence in 0..5 {
            board.acked(&mark(0, sequence), Duration::from_millis(3));
        }
        see(&board, &[mark(0, 0), mark(0, 1), mark(0, 3)]);
        assert!(!board.complete());
        board.read(1, 0, &[(mark(0, 4), Duration::ZERO)]);
        assert_eq!(report(&board).lost, 2);
        see(&board, &[mark(0, 2), mark(0, 4)]);
        assert!(board.complete());
        let last = report(&board);
        assert_eq!((last.lost, last.acked, last.duplicated), (0, 5, 1), "4 was read twice at sea");
    }

    #[test]
    fn what_was_seen_and_not_acknowledged_is_no_loss_and_no_duplicate() {
        let board = board();
        see(&board, &[mark(1, 7)]);
        let report = report(&board);
        assert_eq!((report.lost, report.duplicated, report.popped), (0, 0, 2));
        assert_eq!(report.wrong.len(), 4, "nobody sent it: {:?}", report.wrong);
        assert!((report.visible_by_pair[2].latency.p50_ms - 9.0).abs() < 0.1, "sea to nyc");
    }

    #[test]
    fn what_was_sent_is_acknowledged_failed_or_unanswered() {
        let board = board();
        (0..6).for_each(|_| board.sent());
        (0..4).for_each(|sequence| board.acked(&mark(0, sequence), Duration::from_millis(3)));
        board.failed("no");
        board.swept(0, &[mark(0, 0), mark(0, 1)]);
        let last = report(&board);
        assert_eq!((last.sent, last.acked, last.failed, last.unanswered), (6, 4, 1, 1));
        assert_eq!(
            (last.replicated_rate, last.visible.rate),
            (Some(1.0), 0.0),
            "what was swept is not timed"
        );
        assert_eq!(last.lost, 4, "of them two for one datacenter only");
        assert_eq!(last.wrong, Vec::<String>::new());
        board.acked(&mark(0, 0), Duration::from_millis(3));
        assert_eq!(report(&board).wrong.len(), 1);
    }

    #[test]
    fn a_bell_rings_for_its_datacenter_and_topic() {
        let board = board();
        let bell = board.readable(1, 0);
        board.read(1, 0, &[(mark(0, 0), Duration::ZERO)]);
        assert_eq!(*bell.borrow(), 1);
    }
}
