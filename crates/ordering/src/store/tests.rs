//! The catalog, reports and held vectors together: tables, and random histories against a plain model.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use trunkline_types::limits::REPORT_RUNS_PER_LOG_MAX;
use trunkline_types::{Boot, Bucket, Lane, LogName, NodeId, Ordinal, TopicId};

use super::topic::RECENT_RUNS_MAX;
use super::*;
use crate::group::{OrderedRun, Predecessor, digest};

const GROUP: u16 = 0;

fn name(node: u64, ordinal: u32) -> LogName {
    let boot = Boot { counter: 1, random: 7 };
    LogName { bucket: Bucket(0), node: NodeId(node), boot, lane: Lane(0), ordinal: Ordinal(ordinal) }
}

fn topic(counter: u64) -> TopicId {
    TopicId::new(counter, Bucket(0))
}

fn run(counter: u64, first_id: u64, count: u64) -> OrderedRun {
    OrderedRun { topic: topic(counter), first_id, count }
}

/// A store with everything that it wrote, in memory.
struct Store {
    catalog: Catalog,
    index: BTreeMap<(TopicId, u64), IndexRun>,
    records: BTreeMap<LogNo, Vec<TopicId>>,
    /// Facts whose rows are not on disk yet.
    unsettled: Vec<Settled>,
    facts: u64,
}

impl Store {
    fn new() -> Self {
        let catalog = Catalog::new(vec![true], 1);
        Self { catalog, index: BTreeMap::new(), records: BTreeMap::new(), unsettled: Vec::new(), facts: 0 }
    }

    fn facts(&mut self, facts: Vec<Fact>) -> Result<(), Inconsistent> {
        self.facts += 1;
        let mut rows = Vec::new();
        let at = FactsAt { index: self.facts, order_time_ms: 0, facts };
        let taken = self.catalog.stage(GROUP, at, &mut rows, &mut self.unsettled);
        for row in rows {
            if let Row::Index { topic, run } = row {
                self.index.insert((topic, run.first), run);
            }
        }
        taken
    }

    fn settle(&mut self) {
        let mut effects = Vec::new();
        let settled = std::mem::take(&mut self.unsettled);
        self.catalog.settle(&settled, &mut effects);
        self.act(effects);
    }

    fn accept(&mut self, log: LogName, topics: &[TopicId]) -> LogNo {
        let no = self.catalog.open_log(log, None, &mut Vec::new());
        let from = self.catalog.log(no).accepted();
        assert_eq!(self.catalog.accept(no, from, topics), Accepted::New(from..from + topics.len() as u64));
        self.records.entry(no).or_default().extend(topics);
        no
    }

    fn written(&mut self, no: LogNo, end: u64) {
        let mut effects = Vec::new();
        self.catalog.written(no, end, &mut effects);
        self.act(effects);
    }

    /// Reads from "disk" as the driver would.
    fn act(&mut self, mut effects: Vec<Effect>) {
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::LoadIndex { topic, from } => {
                        let before =
                            self.index.range(..=(topic, from)).next_back().filter(|(key, _)| key.0 == topic);
                        let after = self.index.range((topic, from + 1)..(topic, u64::MAX));
                        let runs = before.into_iter().chain(after).take(4).map(|(_, &run)| run).collect();
                        self.catalog.index_loaded(topic, runs, &mut effects);
                    }
                    Effect::LoadRuns { log, from } => {
                        let durable = self.catalog.log(log).durable();
                        let at = |seq: u64| (seq, self.records[&log][index(seq - 1)], 1);
                        let runs: Vec<_> = (from..durable).map(at).collect();
                        self.catalog.runs_loaded(log, &runs, &mut effects);
                    }
                    Effect::Readable(_) | Effect::Reportable(_) | Effect::Complete(_) => {}
                }
            }
        }
    }

    fn watermark(&self, counter: u64) -> u64 {
        self.catalog.topic(topic(counter)).map_or(0, Topic::watermark)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "small numbers")]
fn index(seq: u64) -> usize {
    seq as usize
}

fn opened(number: u32, log: LogName) -> Fact {
    Fact::LogOpened { number, log, predecessor: None }
}

fn created(counter: u64) -> Fact {
    Fact::TopicCreated { topic: topic(counter), name: format!("t{counter}"), options: vec![9] }
}

#[test]
fn a_message_is_readable_once_its_record_and_its_id_are_on_disk() {
    let mut store = Store::new();
    let log = store.accept(name(1, 1), &[topic(1), topic(1)]);
    store.facts(vec![created(1), opened(5, name(1, 1))]).unwrap();
    store.facts(vec![Fact::Ordered { number: 5, from: 1, runs: vec![run(1, 1, 2)] }]).unwrap();
    store.written(log, 2);
    assert_eq!(
        (store.watermark(1), store.catalog.facts_index(GROUP), store.catalog.facts_from(GROUP)),
        (0, 0, 3)
    );
    store.settle();
    assert_eq!((store.watermark(1), store.catalog.facts_index(GROUP)), (1, 2));
    store.written(log, 3);
    assert_eq!(store.watermark(1), 2);
    assert_eq!(store.catalog.find_topic("t1"), Some(topic(1)));
}

#[test]
fn index_rows_that_come_to_disk_while_they_are_being_read_are_read_again() {
    let mut store = Store::new();
    let count = 2 * RECENT_RUNS_MAX as u64;
    // Runs that do not continue each other, more than stay in memory.
    let runs = (1..=count).flat_map(|id| [run(1, id, 1), run(2, id, 1)]).collect();
    let no = store.accept(name(1, 1), &[topic(1), topic(2)].repeat(index(count)));
    store
        .facts(vec![
            created(1),
            created(2),
            opened(1, name(1, 1)),
            Fact::Ordered { number: 1, from: 1, runs },
        ])
        .unwrap();
    let (after, before): (Vec<_>, Vec<_>) =
        std::mem::take(&mut store.unsettled).into_iter().partition(Settled::needs_disk);
    let mut effects = Vec::new();
    store.catalog.settle(&before, &mut effects);
    store.catalog.written(no, 2 * count + 1, &mut effects);
    let load = Effect::LoadIndex { topic: topic(1), from: 1 };
    assert!(effects.contains(&load));
    // The read comes before the rows, its answer after them.
    store.catalog.settle(&after, &mut effects);
    effects.clear();
    store.catalog.index_loaded(topic(1), Vec::new(), &mut effects);
    assert_eq!(effects, [load]);
    store.act(effects);
    assert_eq!(store.watermark(1), count);
}

#[test]
fn facts_may_come_before_the_records_and_again() {
    let mut store = Store::new();
    let ordered = Fact::Ordered { number: 5, from: 1, runs: vec![run(1, 1, 1), run(1, 0, 1), run(1, 2, 1)] };
    store.facts(vec![created(1), opened(5, name(1, 1)), ordered.clone()]).unwrap();
    store.settle();
    store.facts(vec![ordered]).expect("what is known already is passed over");
    let log = store.accept(name(1, 1), &[topic(1), topic(1), topic(1)]);
    for (end, watermark) in [(2, 1), (3, 1), (4, 2)] {
        store.written(log, end);
        assert_eq!(store.watermark(1), watermark);
    }
    assert_eq!(store.catalog.held(GROUP), Held { facts_index: 1, ..Held::default() });
}

#[test]
fn ids_and_logs_are_taken_only_where_they_continue() {
    let mut store = Store::new();
    store.facts(vec![created(1), opened(5, name(1, 1))]).unwrap();
    let ordered = |number, from, first| Fact::Ordered { number, from, runs: vec![run(1, first, 1)] };
    let gap = Inconsistent::LogGap { log: name(1, 1), from: 2, ordered: 1 };
    for (fact, expected) in [
        (ordered(6, 1, 1), Inconsistent::UnknownNumber(6)),
        (ordered(5, 2, 1), gap),
        (ordered(5, 1, 2), Inconsistent::TopicGap { topic: topic(1), first: 2, next: 1 }),
    ] {
        let from = store.catalog.facts_from(GROUP);
        assert_eq!(store.facts(vec![fact]), Err(expected));
        assert_eq!(store.catalog.facts_from(GROUP), from, "the same facts are wanted again");
    }
}

#[test]
fn logs_that_get_no_more_records_are_named_until_they_are_closed() {
    let mut store = Store::new();
    let log = store.accept(name(1, 1), &[topic(1), topic(1)]);
    store.written(log, 3);
    store.facts(vec![opened(5, name(1, 1)), opened(6, name(2, 1))]).unwrap();
    store.facts(vec![Fact::BootsEnded { node: NodeId(2), counter: 2 }]).unwrap();
    store.settle();
    let ended = |node, held| LogHeld { log: name(node, 1), held };
    assert_eq!(store.catalog.held(GROUP).ended, [ended(2, 1)], "nothing of it is here, and that is said");
    let predecessor = Some(Predecessor { ordinal: 1, end: 3, overtaking: true });
    store.facts(vec![Fact::LogOpened { number: 7, log: name(1, 2), predecessor }]).unwrap();
    assert_eq!(store.catalog.held(GROUP).ended, [ended(1, 3), ended(2, 1)], "its successor has begun");
    store.facts(vec![Fact::LogClosed { number: 5, end: 2 }, Fact::LogClosed { number: 6, end: 4 }]).unwrap();
    let held = store.catalog.held(GROUP);
    assert_eq!((held.ended, held.lacking), (vec![], vec![ended(2, 1)]));
    assert_eq!(store.catalog.log(log).durable(), 2, "what lies beyond the end is dropped");
}

/// A store with a log of two readable records that has just been closed, and its reports.
fn closed() -> (Store, LogNo, Reports) {
    let mut store = Store::new();
    let log = store.accept(name(1, 1), &[topic(1), topic(1)]);
    store.written(log, 3);
    let mut reports = Reports::new(GROUP);
    reports.restart(&store.catalog);
    assert_eq!(reports.next(&store.catalog).map(|report| report.logs.len()), Some(1));
    store.facts(vec![created(1), opened(5, name(1, 1))]).unwrap();
    store.facts(vec![Fact::Ordered { number: 5, from: 1, runs: vec![run(1, 1, 2)] }]).unwrap();
    store.facts(vec![Fact::LogClosed { number: 5, end: 3 }]).unwrap();
    store.settle();
    (store, log, reports)
}

#[test]
fn of_a_closed_log_nothing_stays_in_memory_but_that_it_is_closed() {
    let (mut store, log, _) = closed();
    assert_eq!(store.catalog.take_complete(), [log]);
    store.catalog.forget(log);
    assert_eq!((store.catalog.find_log(&name(1, 1)), store.catalog.get(log).is_none()), (None, true));
    assert!(store.catalog.is_closed(&name(1, 1)) && !store.catalog.is_closed(&name(1, 2)));
    assert!(store.catalog.groups_are_quiet(), "its number has gone, too");
    // What was under way when it was forgotten.
    store.written(log, 3);
    store.catalog.runs_loaded(log, &[(1, topic(1), 2)], &mut Vec::new());
    store.settle();
    assert_eq!((store.watermark(1), store.catalog.durable(log)), (2, u64::MAX));
    // Facts that come again, after a session that broke, do not bring it back.
    let again = vec![opened(5, name(1, 1)), Fact::Ordered { number: 5, from: 1, runs: vec![run(1, 1, 2)] }];
    store.facts(again).unwrap();
    store.facts(vec![Fact::LogClosed { number: 5, end: 3 }]).unwrap();
    store.settle();
    assert!(store.catalog.groups_are_quiet() && store.catalog.find_log(&name(1, 1)).is_none());
    let next = store.catalog.open_log(name(1, 2), None, &mut Vec::new());
    assert!(next > log, "a number is never reused");
}

#[test]
fn a_copy_closes_what_was_closed_meanwhile_and_facts_that_it_knows_may_come_again() {
    let mut store = Store::new();
    let log = store.accept(name(1, 1), &[topic(1), topic(1)]);
    store.written(log, 3);
    store.facts(vec![created(1), opened(5, name(1, 1))]).unwrap();
    let later = store.catalog.open_log(name(2, 1), None, &mut Vec::new());
    let topic_there =
        CopiedTopic { topic: topic(1), name: "t1".to_owned(), options: vec![9], deleted: false, next: 4 };
    let logs = vec![
        CopiedLog { log, number: None, ordered: 3 },
        CopiedLog { log: later, number: Some(7), ordered: 2 },
    ];
    store.index.insert((topic(1), 1), IndexRun { first: 1, log, seq: 1, count: 2 });
    store.index.insert((topic(1), 3), IndexRun { first: 3, log: later, seq: 1, count: 1 });
    let copied = Copied { logs, topics: vec![topic_there], boots_ended: vec![(NodeId(1), 2)] };
    let mut rows = Vec::new();
    store.catalog.stage_copy(GROUP, copied, &mut rows, &mut store.unsettled);
    store.catalog.end_copy(GROUP, 9, &mut rows, &mut store.unsettled);
    assert!(rows.contains(&Row::NumberClosed { group: GROUP, number: 5 }));
    assert!(rows.contains(&Row::Copying { group: GROUP, upto: None }));
    store.settle();
    assert_eq!((store.watermark(1), store.catalog.facts_index(GROUP)), (2, 9));
    assert_eq!(store.catalog.take_complete(), [log]);
    store.catalog.forget(log);
    // The other bucket's copy was of older facts, so some come again that this one knows.
    store.facts = 9;
    let ordered = |number, first| Fact::Ordered { number, from: 1, runs: vec![run(1, first, 1)] };
    store.facts(vec![created(1), opened(5, name(1, 1)), ordered(5, 1), opened(7, name(2, 1))]).unwrap();
    store.facts(vec![ordered(7, 3), Fact::LogClosed { number: 5, end: 3 }]).unwrap();
    store.settle();
    store.accept(name(2, 1), &[topic(1)]);
    store.written(later, 2);
    assert_eq!(store.watermark(1), 3);
    store.facts(vec![Fact::LogClosed { number: 7, end: 2 }]).unwrap();
    assert!(store.catalog.groups_are_quiet());
}

#[test]
fn a_closed_log_is_taken_back_from_the_session_that_was_told_of_it() {
    let (store, _, mut reports) = closed();
    assert!(reports.is_quiet());
    reports.closed(name(1, 1));
    reports.closed(name(2, 1));
    assert!(!reports.is_quiet());
    let report = reports.next(&store.catalog).unwrap();
    let taken_back = LogReport { log: name(1, 1), from: 0, held: 0, runs: Vec::new(), predecessor: None };
    assert_eq!((report.first, report.logs), (false, vec![taken_back]));
    assert_eq!(reports.next(&store.catalog), None);
    assert_eq!(reports.digest(), (1, digest([]), 0));
}

#[test]
fn a_restart_finds_closed_logs_closed_and_what_came_before_them_ended() {
    let mut catalog = Catalog::new(vec![true], 1);
    catalog.recover_closed(&name(1, 2));
    let open = catalog.recover_log(name(1, 1), None, None, 3, 1);
    let lacking = catalog.recover_log(name(2, 1), None, Some(5), 4, 5);
    let complete = catalog.recover_log(name(3, 1), None, Some(5), 5, 5);
    assert_eq!((open, lacking, complete, catalog.next_log()), (LogNo(1), LogNo(2), LogNo(3), LogNo(4)));
    let mut effects = Vec::new();
    catalog.recovered(&mut effects);
    assert!(effects.contains(&Effect::Complete(complete)), "the row that says so did not get to disk");
    let held = |node, ordinal, held| LogHeld { log: name(node, ordinal), held };
    let said = catalog.held(GROUP);
    assert_eq!((said.ended, said.lacking), (vec![held(1, 1, 3)], vec![held(2, 1, 4)]));
}

#[test]
fn a_record_of_a_topic_that_was_never_created_is_told_once_after_a_while() {
    let mut store = Store::new();
    let log = store.accept(name(1, 1), &[topic(1), topic(2), topic(2)]);
    store.written(log, 4);
    let mut unknown = UnknownTopics::default();
    let at = Duration::from_secs;
    assert_eq!(unknown.look(&store.catalog, at(0)), (1, vec![]));
    store.facts(vec![created(1), opened(5, name(1, 1))]).unwrap();
    store.facts(vec![Fact::Ordered { number: 5, from: 1, runs: vec![run(1, 1, 1)] }]).unwrap();
    store.settle();
    assert_eq!(unknown.look(&store.catalog, at(10)), (2, vec![]), "topic 1 was created, topic 2 was not");
    assert_eq!(unknown.look(&store.catalog, at(39)), (2, vec![]));
    assert_eq!(unknown.look(&store.catalog, at(40)), (2, vec![(name(1, 1), topic(2))]));
    assert_eq!(unknown.look(&store.catalog, at(99)), (2, vec![]), "once");
    store.facts(vec![created(2)]).unwrap();
    assert_eq!(unknown.look(&store.catalog, at(100)), (0, vec![]));
}

#[test]
fn a_log_whose_successor_came_first_has_ended_too() {
    let mut store = Store::new();
    let predecessor = |ordinal| Some(Predecessor { ordinal, end: 3, overtaking: true });
    let named = |number, ordinal| {
        let predecessor = predecessor(ordinal - 1).filter(|before| before.ordinal > 0);
        Fact::LogOpened { number, log: name(1, ordinal), predecessor }
    };
    store.catalog.open_log(name(2, 2), predecessor(1), &mut Vec::new());
    store.facts(vec![named(5, 2), opened(8, name(2, 1))]).unwrap();
    assert_eq!(store.catalog.held(GROUP).ended, [], "a successor that no fact names is hearsay");
    store.facts(vec![named(6, 1), named(7, 3)]).unwrap();
    let ended = |ordinal| LogHeld { log: name(1, ordinal), held: 1 };
    let mut listed = store.catalog.held(GROUP).ended;
    listed.sort_by_key(|held| held.log);
    assert_eq!(listed, [ended(1), ended(2)]);
}

#[test]
fn a_topic_is_known_until_it_is_deleted_and_its_name_may_come_again() {
    let mut store = Store::new();
    store.facts(vec![created(1)]).unwrap();
    store.facts(vec![Fact::TopicDeleted { topic: topic(1) }]).unwrap();
    assert_eq!(store.catalog.find_topic("t1"), None);
    assert!(store.catalog.topic(topic(1)).is_some_and(|topic| topic.deleted));
    let again = Fact::TopicCreated { topic: topic(2), name: "t1".to_owned(), options: Vec::new() };
    store.facts(vec![again]).unwrap();
    assert_eq!(store.catalog.find_topic("t1"), Some(topic(2)));
}

#[test]
fn a_session_is_told_all_then_changes_bounded_by_what_is_not_ordered() {
    let mut store = Store::new();
    let many = REPORT_RUNS_PER_LOG_MAX as u64 + 100;
    let topics: Vec<TopicId> = (0..many).map(|n| topic(1 + n % 2)).collect();
    let log = store.accept(name(1, 1), &topics);
    store.written(log, 11);
    let mut reports = Reports::new(GROUP);
    reports.restart(&store.catalog);
    let first = reports.next(&store.catalog).unwrap();
    assert_eq!((first.session, first.first, first.logs[0].held, first.logs[0].runs.len()), (1, true, 11, 10));
    assert_eq!(reports.next(&store.catalog), None);
    assert_eq!(reports.digest(), (1, digest([(name(1, 1), 11)]), 1));
    store.written(log, many + 1);
    reports.touch(log);
    let more = reports.next(&store.catalog).unwrap();
    assert_eq!((more.first, more.logs[0].from, more.logs[0].held), (false, 11, many + 1));
    assert_eq!(more.logs[0].runs.len(), REPORT_RUNS_PER_LOG_MAX - 10, "the rest when those are ordered");
    store.facts(vec![created(1), created(2), opened(5, name(1, 1))]).unwrap();
    let runs = (0..50).flat_map(|n| [run(1, n + 1, 1), run(2, n + 1, 1)]).collect();
    store.facts(vec![Fact::Ordered { number: 5, from: 1, runs }]).unwrap();
    store.settle();
    reports.touch(log);
    let rest = reports.next(&store.catalog).unwrap();
    assert_eq!((rest.logs[0].from, rest.logs[0].runs.len()), (REPORT_RUNS_PER_LOG_MAX as u64 + 1, 100));
    reports.restart(&store.catalog);
    assert_eq!(reports.next(&store.catalog).map(|report| (report.session, report.first)), Some((2, true)));
}

/// One step of a history of two logs and three topics.
#[derive(Clone, Debug)]
enum Step {
    Accept { log: u64, topic: u64, count: usize },
    Write { log: u64, back: u64 },
    Order { log: u64, count: u64 },
    Settle,
    Report,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u64..3, 1u64..4, 1usize..5).prop_map(|(log, topic, count)| Step::Accept { log, topic, count }),
        (1u64..3, 0u64..3).prop_map(|(log, back)| Step::Write { log, back }),
        (1u64..3, 1u64..7).prop_map(|(log, count)| Step::Order { log, count }),
        Just(Step::Settle),
        Just(Step::Report),
    ]
}

/// What a voter knows from reports alone.
#[derive(Default)]
struct Voter {
    held: BTreeMap<LogName, u64>,
    topics: BTreeMap<(LogName, u64), TopicId>,
}

impl Voter {
    fn hear(&mut self, report: Report) {
        for log in report.logs {
            self.held.insert(log.log, log.held);
            let mut seq = log.from;
            for run in log.runs {
                for _ in 0..run.count {
                    self.topics.insert((log.log, seq), run.topic);
                    seq += 1;
                }
            }
            assert!(seq <= log.held, "a run beyond what is on disk");
        }
    }
}

proptest! {
    #[test]
    fn whatever_comes_first_the_watermark_is_the_longest_prefix_and_reports_say_the_truth(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut store = Store::new();
        store.facts(vec![created(1), created(2), created(3), opened(1, name(1, 1)), opened(2, name(2, 1))]).unwrap();
        // What the orderer has decided, and how much of that is settled here.
        let (mut next_id, mut ordered) = (BTreeMap::new(), BTreeMap::from([(1, 1), (2, 1)]));
        let (mut decided, mut settled): (Vec<(TopicId, u64, u64, u64)>, usize) = (Vec::new(), 0);
        let (mut reports, mut voter) = (Reports::new(GROUP), Voter::default());
        reports.restart(&store.catalog);
        for step in steps {
            match step {
                Step::Accept { log, topic: counter, count } => {
                    store.accept(name(log, 1), &vec![topic(counter); count]);
                }
                Step::Write { log, back } => if let Some(no) = store.catalog.find_log(&name(log, 1)) {
                    let end = store.catalog.log(no).accepted().saturating_sub(back).max(1);
                    store.written(no, end);
                    reports.touch(no);
                },
                Step::Order { log, count } => {
                    let no = store.catalog.find_log(&name(log, 1)).unwrap();
                    // Others may hold more than is here: records that come later.
                    let from = ordered[&log];
                    let known = store.records.get(&no).cloned().unwrap_or_default();
                    let of: Vec<TopicId> = (from..from + count).map_while(|seq| known.get(index(seq - 1)).copied()).collect();
                    let mut runs: Vec<OrderedRun> = Vec::new();
                    for (seq, id) in (from..).zip(&of) {
                        let next = next_id.entry(*id).or_insert(1);
                        decided.push((*id, *next, log, seq));
                        runs.push(OrderedRun { topic: *id, first_id: *next, count: 1 });
                        *next += 1;
                    }
                    ordered.insert(log, from + of.len() as u64);
                    if !of.is_empty() {
                        let number = u32::try_from(log).unwrap();
                        store.facts(vec![Fact::Ordered { number, from, runs }]).unwrap();
                    }
                }
                Step::Settle => {
                    store.settle();
                    settled = decided.len();
                    for log in 1..3 {
                        reports.touch(store.catalog.find_log(&name(log, 1)).unwrap());
                    }
                }
                Step::Report => while let Some(report) = reports.next(&store.catalog) {
                    voter.hear(report);
                },
            }
            for counter in 1..4 {
                let durable = |log: u64| store.catalog.log(store.catalog.find_log(&name(log, 1)).unwrap()).durable();
                let ids = decided[..settled].iter().filter(|(id, ..)| *id == topic(counter));
                let readable = ids.take_while(|&&(_, _, log, seq)| seq < durable(log)).count() as u64;
                prop_assert_eq!(store.watermark(counter), readable);
            }
        }
        while let Some(report) = reports.next(&store.catalog) {
            voter.hear(report);
        }
        for log in 1..3 {
            let no = store.catalog.find_log(&name(log, 1)).unwrap();
            let known = store.catalog.log(no);
            for seq in known.ordered()..known.durable() {
                prop_assert_eq!(voter.topics.get(&(known.name, seq)), Some(&store.records[&no][index(seq - 1)]));
            }
        }
        let (_, said, logs) = reports.digest();
        prop_assert_eq!(said, digest(voter.held.iter().map(|(&log, &held)| (log, held))));
        prop_assert_eq!(logs, voter.held.len());
    }
}
