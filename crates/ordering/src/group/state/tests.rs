use proptest::prelude::*;
use trunkline_types::{Boot, Bucket, Lane, LogName, NodeId, Ordinal};

mod producers;

use super::super::entry::{LogReference, Predecessor};
use super::*;

const SHAPE: Shape = Shape { group: 0, groups: 1, buckets: 1 };

fn log(node: u64, counter: u32, ordinal: u32) -> LogName {
    let boot = Boot { counter, random: 7 };
    LogName { bucket: Bucket(0), node: NodeId(node), boot, lane: Lane(0), ordinal: Ordinal(ordinal) }
}

fn named(name: LogName, from: u64, runs: &[(u64, u64)]) -> LogPart {
    part(LogReference::Name { name, predecessor: None }, from, runs)
}

fn after(name: LogName, predecessor: (u32, u64, bool), from: u64, runs: &[(u64, u64)]) -> LogPart {
    let (ordinal, end, overtaking) = predecessor;
    let predecessor = Some(Predecessor { ordinal, end, overtaking });
    part(LogReference::Name { name, predecessor }, from, runs)
}

fn numbered(number: u32, from: u64, runs: &[(u64, u64)]) -> LogPart {
    part(LogReference::Number(number), from, runs)
}

fn part(log: LogReference, from: u64, runs: &[(u64, u64)]) -> LogPart {
    let runs = runs.iter().map(|&(counter, count)| PartRun { kind: Kind::Topic(counter), count }).collect();
    LogPart { log, from, runs }
}

fn assign(logs: Vec<LogPart>) -> Entry {
    Entry::Assign(Assignment { map_version: 1, order_time_ms: 0, facts_trim: 0, logs })
}

fn create(name: &str) -> Entry {
    Entry::CreateTopic { name: name.to_owned(), options: Vec::new(), retention: Retention::default() }
}

/// A state with topics 1 and 2, and what is needed to go on with it.
struct Group {
    state: State,
    index: u64,
}

impl Group {
    fn new() -> Self {
        let mut group = Self { state: State::new(SHAPE), index: 0 };
        group.apply(&create("one"));
        group.apply(&create("two"));
        group
    }

    fn apply(&mut self, entry: &Entry) -> Answer {
        self.index += 1;
        let decoded = Entry::decode(&entry.encode()).unwrap();
        self.state.apply(self.index, &decoded)
    }

    /// How many records it has decided.
    fn assign(&mut self, part: LogPart) -> u64 {
        match self.apply(&assign(vec![part])) {
            Answer::Assigned { records } => records,
            other => panic!("{other:?}"),
        }
    }

    fn facts(&self, from: u64) -> Vec<Fact> {
        match self.state.facts_since(from) {
            Since::Facts { at, .. } => at.iter().flat_map(|at| at.facts.to_vec()).collect(),
            Since::Gone { .. } => panic!("gone"),
        }
    }

    fn last_facts(&self) -> Vec<Fact> {
        self.facts(self.index)
    }

    /// (topic, first ID, count) of what the last entry ordered.
    fn ordered(&self) -> Vec<(u64, u64, u64)> {
        let runs = self.last_facts().into_iter().filter_map(|fact| match fact {
            Fact::Ordered { runs, .. } => Some(runs),
            _ => None,
        });
        runs.flatten().map(|run| (run.topic.counter(), run.first_id, run.count)).collect()
    }

    fn next_id(&self, counter: u64) -> u64 {
        self.state.topics().get(TopicId::new(counter, Bucket(0))).unwrap().next_id
    }
}

#[test]
fn an_assignment_gives_dense_ids_run_after_run() {
    let mut group = Group::new();
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 2), (2, 1), (1, 1)])), 4);
    assert_eq!(group.ordered(), [(1, 1, 2), (2, 1, 1), (1, 3, 1)]);
    assert_eq!(group.assign(named(log(2, 1, 1), 1, &[(1, 5)])), 5);
    assert_eq!(group.ordered(), [(1, 4, 5)]);
}

#[test]
fn the_first_fact_of_a_log_names_its_number_and_the_next_part_may_use_it() {
    let mut group = Group::new();
    group.assign(named(log(1, 1, 1), 1, &[(1, 1)]));
    let opened = Fact::LogOpened { number: 1, log: log(1, 1, 1), predecessor: None };
    assert_eq!(group.last_facts()[0], opened);
    assert_eq!(group.assign(numbered(1, 2, &[(1, 1)])), 1);
    assert_eq!(group.assign(named(log(1, 1, 1), 3, &[(1, 1)])), 1, "by name still");
    assert_eq!(group.state.log_numbers(0), [opened]);
}

#[test]
fn of_two_proposals_from_the_same_place_the_second_gives_only_what_is_new() {
    let mut group = Group::new();
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 2)])), 2);
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 2), (2, 3)])), 3);
    assert_eq!(group.ordered(), [(2, 1, 3)]);
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 2)])), 0);
    assert_eq!((group.next_id(1), group.next_id(2)), (3, 4));
}

#[test]
fn a_repetition_that_ends_inside_a_run_takes_the_rest_of_it() {
    let mut group = Group::new();
    group.assign(named(log(1, 1, 1), 1, &[(1, 3)]));
    assert_eq!(group.assign(named(log(1, 1, 1), 2, &[(1, 5)])), 3, "2 to 6, of which 2 and 3 are ordered");
    assert_eq!(group.ordered(), [(1, 4, 3)]);
}

#[test]
fn what_lies_beyond_the_ordered_place_is_refused() {
    let mut group = Group::new();
    assert_eq!(group.assign(named(log(1, 1, 1), 2, &[(1, 1)])), 0, "the proposal before it was lost");
    assert_eq!(group.next_id(1), 1);
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 1)])), 1);
}

#[test]
fn a_topic_not_known_yet_stops_its_log_there_and_no_other() {
    let mut group = Group::new();
    let parts = vec![named(log(1, 1, 1), 1, &[(1, 1), (3, 1), (1, 1)]), named(log(2, 1, 1), 1, &[(2, 1)])];
    assert_eq!(group.apply(&assign(parts)), Answer::Assigned { records: 2 });
    assert_eq!(group.ordered(), [(1, 1, 1), (2, 1, 1)]);
    group.apply(&create("three"));
    assert_eq!(group.assign(numbered(1, 2, &[(3, 1), (1, 1)])), 2);
    assert_eq!(group.ordered(), [(3, 1, 1), (1, 2, 1)]);
}

#[test]
fn records_of_a_deleted_topic_are_decided_without_an_id() {
    let mut group = Group::new();
    let one = TopicId::new(1, Bucket(0));
    assert_eq!(group.apply(&Entry::DeleteTopic { topic: one }), Answer::Deleted(true));
    assert_eq!(group.last_facts(), [Fact::TopicDeleted { topic: one }]);
    assert_eq!(group.apply(&Entry::DeleteTopic { topic: one }), Answer::Deleted(false));
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 2), (2, 1)])), 3);
    assert_eq!(group.ordered(), [(1, 0, 2), (2, 1, 1)]);
}

#[test]
fn a_topic_created_again_is_another_one() {
    let mut group = Group::new();
    let first = group.apply(&create("one"));
    assert_eq!(first, Answer::Topic { id: TopicId::new(1, Bucket(0)), options: vec![], created: false });
    group.apply(&Entry::DeleteTopic { topic: TopicId::new(1, Bucket(0)) });
    let again = group.apply(&create("one"));
    assert_eq!(again, Answer::Topic { id: TopicId::new(3, Bucket(0)), options: vec![], created: true });
    assert_eq!(
        group.apply(&Entry::DeleteTopic { topic: TopicId::new(1, Bucket(0)) }),
        Answer::Deleted(false),
        "a late repetition of the deletion does not hit it"
    );
}

#[test]
fn a_topic_of_another_group_is_not_created_here() {
    let mut state = State::new(Shape { group: 1, groups: 2, buckets: 2 });
    let owned = |name: &str| TopicName::new(name).unwrap().bucket(2) == Bucket(1);
    let name = |here: bool| (0..).map(|n| format!("t{n}")).find(|name| owned(name) == here).unwrap();
    assert_eq!(state.apply(1, &create(&name(false))), Answer::NotHere);
    assert_eq!(state.apply(2, &create("no/name")), Answer::NotHere);
    assert!(matches!(state.apply(3, &create(&name(true))), Answer::Topic { created: true, .. }));
}

#[test]
fn nothing_of_a_log_gets_an_id_before_its_predecessor_is_ordered_to_its_end() {
    let mut group = Group::new();
    group.assign(named(log(1, 1, 1), 1, &[(1, 2)]));
    let second = || after(log(1, 1, 2), (1, 4, false), 1, &[(2, 1)]);
    assert_eq!(group.assign(second()), 0);
    assert_eq!(group.assign(numbered(1, 3, &[(1, 1)])), 1);
    assert_eq!(group.assign(second()), 1);
}

#[test]
fn an_overtaking_log_waits_for_nothing() {
    let mut group = Group::new();
    assert_eq!(group.assign(after(log(1, 1, 2), (1, 9, true), 1, &[(1, 1)])), 1);
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 8)])), 8);
    assert_eq!(group.next_id(1), 10);
}

#[test]
fn a_predecessor_of_which_nothing_is_left_is_opened_so_that_it_can_be_closed() {
    let mut group = Group::new();
    assert_eq!(group.assign(after(log(1, 1, 3), (2, 5, false), 1, &[(1, 1)])), 0);
    let opened: Vec<u32> = group.state.logs().iter().map(|(_, log)| log.name.ordinal.0).collect();
    assert_eq!(opened, [3, 2]);
    assert_eq!(group.assign(numbered(2, 1, &[(1, 1)])), 0, "not before it has named its own predecessor");
    assert_eq!(group.apply(&Entry::CloseLogs { logs: vec![(2, 1)] }), Answer::Noted(0), "its boot goes on");
    group.apply(&Entry::EndBoots { node: NodeId(1), counter: 2 });
    assert_eq!(group.apply(&Entry::CloseLogs { logs: vec![(2, 1)] }), Answer::Noted(1));
    assert_eq!(group.assign(numbered(1, 1, &[(1, 1)])), 1, "what it waited for will never come");
}

#[test]
fn an_unnamed_predecessor_is_completed_by_its_own_name() {
    let mut group = Group::new();
    group.assign(after(log(1, 1, 3), (2, 2, false), 1, &[(1, 1)]));
    assert_eq!(group.assign(after(log(1, 1, 2), (1, 1, false), 1, &[(2, 1)])), 1);
    let named = Fact::LogOpened {
        number: 2,
        log: log(1, 1, 2),
        predecessor: Some(Predecessor { ordinal: 1, end: 1, overtaking: false }),
    };
    assert_eq!(group.last_facts()[0], named);
    assert_eq!(group.assign(numbered(1, 1, &[(1, 1)])), 1);
}

#[test]
fn a_predecessor_that_does_not_fit_is_refused() {
    let mut group = Group::new();
    let cases = [
        after(log(1, 1, 2), (2, 1, false), 1, &[(1, 1)]),
        after(log(1, 1, 2), (0, 1, false), 1, &[(1, 1)]),
        after(log(1, 1, 1), (1, 1, true), 1, &[(1, 1)]),
        after(log(1, 1, 2), (1, 0, true), 1, &[(1, 1)]),
        named(log(1, 1, 2), 1, &[(1, 1)]),
        numbered(1, 1, &[(1, 1)]),
    ];
    for part in cases {
        assert_eq!(group.assign(part.clone()), 0, "{part:?}");
    }
    assert_eq!(group.state.logs().iter().count(), 0);
}

#[test]
fn a_closed_log_that_is_reported_again_is_refused() {
    let mut group = Group::new();
    group.assign(named(log(1, 1, 1), 1, &[(1, 3)]));
    assert_eq!(group.apply(&Entry::CloseLogs { logs: vec![(1, 4)] }), Answer::Noted(0), "its boot goes on");
    group.apply(&Entry::EndBoots { node: NodeId(1), counter: 2 });
    assert_eq!(group.last_facts(), [Fact::BootsEnded { node: NodeId(1), counter: 2 }]);
    assert_eq!(
        group.apply(&Entry::CloseLogs { logs: vec![(1, 3)] }),
        Answer::Noted(0),
        "it is ordered beyond that"
    );
    assert_eq!(group.apply(&Entry::CloseLogs { logs: vec![(1, 4)] }), Answer::Noted(1));
    assert_eq!(group.last_facts(), [Fact::LogClosed { number: 1, log: log(1, 1, 1), end: 4 }]);
    assert_eq!(group.apply(&Entry::CloseLogs { logs: vec![(1, 4)] }), Answer::Noted(0), "once");
    assert_eq!(group.assign(named(log(1, 1, 1), 1, &[(1, 3)])), 0, "by a store that lags");
    assert_eq!(group.assign(numbered(1, 4, &[(1, 3)])), 0);
    assert_eq!(group.assign(named(log(1, 1, 2), 1, &[(1, 3)])), 0);
    assert_eq!(group.assign(named(log(1, 2, 1), 1, &[(1, 1)])), 1, "its next boot's");
    let number = group.state.logs().number(&log(1, 2, 1));
    assert_eq!(number, Some(2), "numbers are never reused");
    assert_eq!(group.next_id(1), 5);
}

#[test]
fn a_log_is_complete_once_its_successor_has_begun_and_it_is_ordered_to_its_end() {
    for successor_first in [false, true] {
        let mut group = Group::new();
        if successor_first {
            group.assign(after(log(1, 1, 2), (1, 3, true), 1, &[(1, 1)]));
        }
        group.assign(named(log(1, 1, 1), 1, &[(1, 1)]));
        if !successor_first {
            group.assign(after(log(1, 1, 2), (1, 3, true), 1, &[(1, 1)]));
        }
        let number = group.state.logs().number(&log(1, 1, 1)).unwrap();
        assert_eq!(
            group.apply(&Entry::CloseLogs { logs: vec![(number, 2)] }),
            Answer::Noted(0),
            "one is to come"
        );
        group.assign(numbered(number, 2, &[(1, 1)]));
        assert_eq!(group.apply(&Entry::CloseLogs { logs: vec![(number, 3)] }), Answer::Noted(1));
    }
}

#[test]
fn a_reader_of_old_facts_learns_the_numbers_of_logs_closed_since() {
    let mut group = Group::new();
    group.assign(named(log(1, 1, 1), 1, &[(1, 1)]));
    group.assign(named(log(2, 1, 1), 1, &[(1, 1)]));
    group.apply(&Entry::EndBoots { node: NodeId(1), counter: 2 });
    group.apply(&Entry::CloseLogs { logs: vec![(1, 2)] });
    let numbers = |from| -> Vec<u32> {
        let number = |fact| match fact {
            Fact::LogOpened { number, .. } => number,
            other => panic!("{other:?}"),
        };
        group.state.log_numbers(from).into_iter().map(number).collect()
    };
    assert_eq!(numbers(0), [1, 2]);
    assert_eq!(numbers(group.index + 1), [2]);
}

#[test]
fn facts_stay_until_a_committed_trim_and_order_time_never_goes_back() {
    let mut group = Group::new();
    group.assign(named(log(1, 1, 1), 1, &[(1, 1)]));
    let timed = |order_time_ms, facts_trim| {
        Entry::Assign(Assignment { map_version: 1, order_time_ms, facts_trim, logs: Vec::new() })
    };
    group.apply(&timed(50, 2));
    assert_eq!(group.state.facts_since(2), Since::Gone { from: 3 });
    assert_eq!(group.facts(3).len(), 2);
    group.apply(&timed(40, 1));
    assert_eq!((group.state.order_time_ms(), group.facts(3).len()), (50, 2));
}

#[test]
fn answers_survive_their_bytes() {
    let topic = Answer::Topic { id: TopicId(3), options: vec![1], created: true };
    let answers = [topic, Answer::TooManyTopics, Answer::NotHere, Answer::Deleted(true), Answer::Noted(3)];
    for answer in answers {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    assert_eq!(Answer::Assigned { records: 300 }.encode(), [4, 0xac, 2]);
    assert_eq!(Answer::decode(&[77]), Err(InvalidAnswer));
}

#[test]
fn a_group_owns_every_groups_th_bucket() {
    let shape = Shape { group: 1, groups: 4, buckets: 16 };
    let own: Vec<u16> = shape.own_buckets().map(|bucket| bucket.0).collect();
    assert_eq!(own, [1, 5, 9, 13]);
    assert!(shape.owns(Bucket(13)) && !shape.owns(Bucket(12)) && !shape.owns(Bucket(17)));
    assert_eq!(Shape { group: 3, groups: 4, buckets: 65_536 }.own_buckets().last(), Some(Bucket(65_535)));
}

/// What the records of log `which` are: a function of the sequence, as for every log.
fn content(which: u64, from: u64, upto: u64) -> Vec<(u64, u64)> {
    (from..upto).map(|sequence| ((sequence / 2 + which) % 3 + 1, 1)).collect()
}

proptest! {
    /// Any leaders' proposals, in any order, repeated, overlapping, some lost; a creation, a deletion and a closing
    /// in between; a voter restored from a snapshot at any point.
    #[test]
    fn any_interleaving_gives_dense_unique_ids_and_the_same_state_everywhere(
        proposals in prop::collection::vec((1u64..4, 1u64..20, 1u64..12, any::<bool>()), 1..60),
        create_at in 0usize..60, delete_at in 0usize..60, end_at in 0usize..60, snapshot_at in 0usize..60,
    ) {
        let mut group = Group::new();
        let mut other: Option<State> = None;
        for (step, (which, from, length, by_number)) in proposals.into_iter().enumerate() {
            let name = log(which, 1, 1);
            let runs = content(which, from, from + length);
            let part = match group.state.logs().number(&name) {
                Some(number) if by_number => numbered(number, from, &runs),
                _ => named(name, from, &runs),
            };
            let mut entries = vec![assign(vec![part])];
            if step == create_at { entries.push(create("three")); }
            if step == delete_at { entries.push(Entry::DeleteTopic { topic: TopicId::new(2, Bucket(0)) }); }
            if step == end_at {
                entries.push(Entry::EndBoots { node: NodeId(1), counter: 2 });
                entries.push(Entry::CloseLogs { logs: group.state.logs().iter().map(|(n, l)| (n, l.ordered)).collect() });
            }
            for entry in entries {
                group.apply(&entry);
                if let Some(other) = &mut other { other.apply(group.index, &entry); }
            }
            if step == snapshot_at {
                other = Some(State::restore(SHAPE, &group.state.snapshot()).unwrap());
            }
        }
        if let Some(other) = other {
            prop_assert_eq!(other.hash(), group.state.hash());
            prop_assert_eq!(&other, &group.state);
        }
        let mut next_ids: std::collections::BTreeMap<u64, u64> = Default::default();
        let mut ordered: std::collections::BTreeMap<u32, u64> = Default::default();
        let mut names: std::collections::BTreeMap<u32, LogName> = Default::default();
        for fact in group.facts(0) {
            match fact {
                Fact::LogOpened { number, log, .. } => { names.insert(number, log); }
                Fact::Ordered { number, from, runs, .. } => {
                    let at = ordered.entry(number).or_insert(1);
                    prop_assert_eq!(*at, from, "a log is decided in its order, each record once");
                    for run in runs {
                        let said: Vec<(u64, u64)> = (0..run.count).map(|_| (run.topic.counter(), 1)).collect();
                        prop_assert_eq!(said, content(names[&number].node.0, *at, *at + run.count));
                        *at += run.count;
                        if run.first_id > 0 {
                            let next = next_ids.entry(run.topic.counter()).or_insert(1);
                            prop_assert_eq!(*next, run.first_id, "dense, each once");
                            *next += run.count;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
