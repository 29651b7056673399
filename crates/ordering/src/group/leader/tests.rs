mod producers;
mod trims;

use proptest::prelude::*;
use trunkline_types::limits::FACT_RUNS_KEPT;
use trunkline_types::{Boot, Bucket, Lane, Ordinal, TopicId};

use super::super::digest::digest;
use super::super::replicas::Replica;
use super::super::retention::Retention;
use super::super::sessions::SILENT_TICKS_MAX;
use super::super::state::{Answer, Shape};
use super::*;

const SHAPE: Shape = Shape { group: 0, groups: 1, buckets: 1 };
const BUCKET: Bucket = Bucket(0);
/// Two stores in each of two datacenters: 1 and 2 here, 3 and 4 there.
const STORES: [u64; 4] = [1, 2, 3, 4];

fn log(node: u64, counter: u32, ordinal: u32) -> LogName {
    let boot = Boot { counter, random: 7 };
    LogName { bucket: BUCKET, node: NodeId(node), boot, lane: Lane(0), ordinal: Ordinal(ordinal) }
}

fn run(topic: u64, count: u64) -> Run {
    Run { topic: TopicId::new(topic, BUCKET), count, produced: None }
}

fn says(log: LogName, from: u64, held: u64, runs: &[(u64, u64)]) -> LogReport {
    let runs = runs.iter().map(|&(topic, count)| run(topic, count)).collect();
    LogReport { log, predecessor: None, from, held, runs }
}

fn source(store: u64) -> Source {
    booted(store, 1)
}

fn booted(store: u64, counter: u32) -> Source {
    Source { store: NodeId(store), boot: Boot { counter, random: 7 } }
}

/// A leader with the state that its proposals make.
struct Group {
    state: State,
    leader: Leader,
    index: u64,
}

impl Group {
    fn new() -> Self {
        let replica = |store| Replica { store: NodeId(store), datacenter: usize::from(store > 2) };
        let replicas = Replicas::new(2, BTreeMap::from([(BUCKET, STORES.map(replica).to_vec())]));
        let mut group = Self { state: State::new(SHAPE), leader: Leader::new(replicas), index: 0 };
        group.create("one");
        group
    }

    fn create(&mut self, name: &str) {
        self.create_keeping(name, Retention::default());
    }

    fn create_keeping(&mut self, name: &str, retention: Retention) {
        self.apply(&Entry::CreateTopic { name: name.to_owned(), options: Vec::new(), retention });
    }

    fn apply(&mut self, entry: &Entry) -> Answer {
        self.index += 1;
        let answer = self.state.apply(self.index, entry);
        self.leader.advanced();
        answer
    }

    fn first(&mut self, store: u64, session: u64, logs: Vec<LogReport>) -> Verdict {
        self.leader.report(&self.state, source(store), Report { session, first: true, logs })
    }

    fn then(&mut self, store: u64, session: u64, logs: Vec<LogReport>) -> Verdict {
        self.leader.report(&self.state, source(store), Report { session, first: false, logs })
    }

    fn assign(&mut self) -> Option<Proposal> {
        self.leader.assign(&self.state, 1, || 0)
    }

    /// Applies what the leader proposes, until it proposes nothing.
    fn settle(&mut self) {
        while let Some(proposal) = self.assign() {
            self.commit(&proposal);
        }
    }

    fn commit(&mut self, proposal: &Proposal) {
        self.apply(&proposal.entry);
        self.leader.completed(&self.state, proposal.id, true);
    }

    fn duties(&mut self) -> Vec<Entry> {
        let duties = self.leader.duties(&self.state, 1, || 0);
        duties.iter().for_each(|proposal| self.commit(proposal));
        duties.into_iter().map(|proposal| proposal.entry).collect()
    }

    fn ordered(&self, log: LogName) -> u64 {
        self.state.logs().ordered(&log).unwrap_or(0)
    }

    fn held(&mut self, store: u64, facts_index: u64, ended: &[(LogName, u64)]) {
        self.lacks(store, facts_index, ended, &[]);
    }

    fn lacks(&mut self, store: u64, facts_index: u64, ended: &[(LogName, u64)], lacking: &[LogName]) {
        let (ended, lacking) = (ended.iter().copied().collect(), lacking.iter().copied().collect());
        let held = HeldVector { facts_index, ended, lacking, topics: Vec::new() };
        assert_eq!(self.leader.held(source(store), held), Verdict::Taken);
    }
}

fn parts(proposal: &Option<Proposal>) -> Vec<(u64, u64)> {
    let Some(Proposal { entry: Entry::Assign(assignment), .. }) = proposal else { return Vec::new() };
    let records = |part: &LogPart| part.runs.iter().map(|run| run.count).sum();
    assignment.logs.iter().map(|part| (part.from, records(part))).collect()
}

#[test]
fn nothing_is_proposed_from_the_reports_of_one_datacenter() {
    let mut group = Group::new();
    group.first(1, 1, vec![says(log(1, 1, 1), 1, 4, &[(1, 3)])]);
    group.first(2, 1, vec![says(log(1, 1, 1), 1, 4, &[(1, 3)])]);
    assert_eq!(group.assign(), None);
    group.first(3, 1, vec![says(log(1, 1, 1), 1, 3, &[(1, 2)])]);
    let proposal = group.assign();
    assert_eq!(parts(&proposal), [(1, 2)], "what the second datacenter has");
}

#[test]
fn proposals_follow_on_each_other_without_waiting() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    group.first(1, 1, vec![says(o, 1, 5, &[(1, 4)])]);
    group.first(3, 1, vec![says(o, 1, 3, &[(1, 2)])]);
    let first = group.assign();
    group.then(3, 1, vec![says(o, 3, 5, &[(1, 2)])]);
    let second = group.assign();
    assert_eq!((parts(&first), parts(&second)), (vec![(1, 2)], vec![(3, 2)]));
    assert_eq!((group.assign(), group.leader.in_flight()), (None, 2));
    group.commit(&first.unwrap());
    group.commit(&second.unwrap());
    assert_eq!((group.ordered(o), group.leader.in_flight()), (5, 0));
}

#[test]
fn after_a_lost_proposal_those_behind_it_are_refused_and_all_is_proposed_again() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    group.first(1, 1, vec![says(o, 1, 5, &[(1, 4)])]);
    group.first(3, 1, vec![says(o, 1, 3, &[(1, 2)])]);
    let lost = group.assign().unwrap();
    group.then(3, 1, vec![says(o, 3, 5, &[(1, 2)])]);
    let behind = group.assign().unwrap();
    group.commit(&behind);
    assert_eq!(group.ordered(o), 1, "it began beyond what is ordered");
    let again = group.assign();
    assert_eq!(parts(&again), [(1, 4)]);
    group.leader.completed(&group.state, lost.id, false);
    group.commit(&again.unwrap());
    group.settle();
    assert_eq!(group.ordered(o), 5);
    group.apply(&lost.entry);
    assert_eq!(group.ordered(o), 5, "a late one changes nothing");
}

#[test]
fn a_leader_elected_again_has_forgotten_what_it_proposed() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    let report = || vec![says(o, 1, 3, &[(1, 2)])];
    group.first(1, 1, report());
    group.first(3, 1, report());
    let lost = group.assign().unwrap();
    group.leader = Leader::new(Group::new().leader.replicas);
    assert_eq!(group.then(1, 1, report()), Verdict::Restart, "nor does it know the sessions");
    assert_eq!(group.then(1, 1, report()), Verdict::Ignored, "asked once");
    group.first(1, 2, report());
    assert_eq!(group.assign(), None);
    group.first(3, 2, report());
    group.settle();
    assert_eq!(group.ordered(o), 3);
    group.apply(&lost.entry);
    assert_eq!(group.ordered(o), 3);
}

#[test]
fn records_of_a_topic_not_created_yet_wait_for_its_creation() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    for store in [1, 3] {
        group.first(store, 1, vec![says(o, 1, 4, &[(1, 1), (2, 1), (1, 1)])]);
    }
    group.settle();
    assert_eq!(group.ordered(o), 2);
    group.create("two");
    group.settle();
    assert_eq!(group.ordered(o), 4);
}

#[test]
fn only_the_newest_report_of_a_live_session_counts() {
    let o = log(1, 1, 1);
    type Step = fn(&mut Group);
    let cases: [(&str, Step); 6] = [
        ("less than before", |group| {
            assert_eq!(group.then(3, 1, vec![says(log(1, 1, 1), 1, 1, &[])]), Verdict::Taken)
        }),
        ("a new session without the log", |group| assert_eq!(group.first(3, 2, vec![]), Verdict::Taken)),
        ("a newer boot", |group| {
            let report = Report { session: 1, first: true, logs: vec![] };
            assert_eq!(group.leader.report(&group.state, booted(3, 2), report), Verdict::Taken);
            let old = vec![says(log(1, 1, 1), 1, 3, &[(1, 2)])];
            assert_eq!(group.then(3, 9, old), Verdict::Ignored, "of the boot before");
        }),
        ("its voter says that it is gone", |group| group.leader.gone(source(3), 1)),
        ("it was silent", |group| {
            for _ in 0..=SILENT_TICKS_MAX {
                group.leader.duties(&group.state, 1, || 0);
            }
        }),
        ("its digest differs", |group| {
            let digest = group.leader.digest(&group.state, source(3), 1, 5);
            assert_eq!(digest, Verdict::Restart);
        }),
    ];
    for (name, step) in cases {
        let mut group = Group::new();
        group.first(3, 1, vec![says(o, 1, 3, &[(1, 2)])]);
        step(&mut group);
        group.first(1, 1, vec![says(o, 1, 3, &[(1, 2)])]);
        assert_eq!(group.assign(), None, "{name}");
    }
}

#[test]
fn the_end_of_an_older_session_does_not_end_the_newer_one() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    group.first(3, 1, vec![]);
    group.first(3, 2, vec![says(o, 1, 3, &[(1, 2)])]);
    group.leader.gone(source(3), 1);
    group.first(1, 1, vec![says(o, 1, 3, &[(1, 2)])]);
    group.settle();
    assert_eq!(group.ordered(o), 3);
}

#[test]
fn a_closed_log_that_is_reported_again_is_not_proposed() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    let report = || vec![says(o, 1, 3, &[(1, 2)])];
    group.first(1, 1, report());
    group.first(3, 1, report());
    group.settle();
    group.apply(&Entry::EndBoots { node: NodeId(1), counter: 2 });
    group.apply(&Entry::CloseLogs { logs: vec![(1, 3)] });
    group.first(1, 2, report());
    group.first(3, 2, report());
    assert_eq!(group.assign(), None);
}

#[test]
fn a_log_waits_for_its_predecessor_and_is_opened_meanwhile() {
    let mut group = Group::new();
    let (first, second) = (log(1, 1, 1), log(1, 1, 2));
    let predecessor = Some(Predecessor { ordinal: 1, end: 3, overtaking: false });
    let later = || LogReport { predecessor, ..says(second, 1, 2, &[(1, 1)]) };
    group.first(1, 1, vec![later()]);
    group.first(3, 1, vec![later()]);
    group.settle();
    assert_eq!(group.ordered(second), 1);
    assert!(group.state.logs().named(&first).is_some(), "opened, to be closed if nothing of it is left");
    group.then(1, 1, vec![says(first, 1, 3, &[(1, 2)])]);
    group.then(3, 1, vec![says(first, 1, 3, &[(1, 2)])]);
    group.settle();
    assert_eq!((group.ordered(first), group.ordered(second)), (3, 2));
}

#[test]
fn a_backlog_of_one_log_leaves_room_for_the_others_and_comes_in_bounded_parts() {
    let mut group = Group::new();
    group.create("two");
    let (long, short) = (log(1, 1, 1), log(2, 1, 1));
    let mixed: Vec<(u64, u64)> = (0..3_000).map(|n| (n % 2 + 1, 1)).collect();
    for store in [1, 3] {
        group.first(store, 1, vec![says(long, 1, 3_001, &mixed), says(short, 1, 2, &[(1, 1)])]);
    }
    let proposal = group.assign();
    assert_eq!(parts(&proposal), [(1, 1_024), (1, 1), (1_025, 1_024), (2_049, 952)]);
    group.commit(&proposal.unwrap());
    assert_eq!((group.ordered(long), group.ordered(short)), (3_001, 2));
}

#[test]
fn a_record_that_no_report_has_told_of_is_asked_for_again() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    for store in [1, 3] {
        group.first(store, 1, vec![says(o, 3, 5, &[(1, 2)])]);
    }
    assert_eq!(group.assign(), None, "1 and 2 are held, but what are they?");
    let digest = digest([(o, 5)]);
    assert_eq!(
        group.leader.digest(&group.state, source(1), 1, digest),
        Verdict::Taken,
        "it may be on its way"
    );
    assert_eq!(group.leader.digest(&group.state, source(1), 1, digest), Verdict::Restart);
    group.first(1, 2, vec![says(o, 1, 5, &[(1, 4)])]);
    group.settle();
    assert_eq!(group.ordered(o), 5);
}

#[test]
fn runs_of_another_bucket_or_beyond_what_is_held_are_not_taken() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    let mut strange = says(o, 1, 9, &[(1, 1), (1, 1)]);
    strange.runs[1].topic = TopicId::new(1, Bucket(3));
    group.first(1, 1, vec![strange]);
    group.first(3, 1, vec![says(o, 1, 3, &[(1, 1), (1, 5)])]);
    group.settle();
    assert_eq!(group.ordered(o), 2);
}

#[test]
fn a_store_that_holds_no_bucket_of_the_group_is_not_heard() {
    let mut group = Group::new();
    assert_eq!(group.first(9, 1, vec![]), Verdict::Ignored);
    assert_eq!(group.leader.held(source(9), HeldVector::default()), Verdict::Ignored);
}

#[test]
fn facts_are_trimmed_once_stores_of_two_datacenters_have_them() {
    let mut group = Group::new();
    let trims = |entries: Vec<Entry>| -> Vec<u64> {
        let trim = |entry| match entry {
            Entry::Assign(assignment) => assignment.facts_trim,
            other => panic!("{other:?}"),
        };
        entries.into_iter().map(trim).collect()
    };
    for _ in 0..FACT_RUNS_KEPT {
        group.index += 1;
        let entry = Entry::EndBoots { node: NodeId(9), counter: u32::try_from(group.index).unwrap() };
        group.state.apply(group.index, &entry);
    }
    let last = group.index;
    group.held(1, last, &[]);
    group.held(2, last, &[]);
    assert_eq!(group.duties(), [], "one datacenter");
    group.held(3, 5, &[]);
    assert_eq!(trims(group.duties()), [1], "all but what is kept for stores that are away");
    assert_eq!(group.duties(), []);
    group.held(3, last, &[]);
    group.held(4, last - 1, &[]);
    assert_eq!(trims(group.duties()), [last - 1], "every replica");
    assert_eq!(group.state.history().runs(), 1);
}

#[test]
fn a_trim_whose_proposal_was_lost_is_proposed_again() {
    let mut group = Group::new();
    group.index += 1;
    group.state.apply(group.index, &Entry::EndBoots { node: NodeId(9), counter: 1 });
    (1..=4).for_each(|store| group.held(store, 1, &[]));
    let lost = group.leader.duties(&group.state, 1, || 0);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(group.duties(), [], "it is under way");
    group.leader.completed(&group.state, lost[0].id, false);
    assert_eq!(group.duties(), [lost[0].entry.clone()]);
}

#[test]
fn the_boots_before_a_live_session_have_ended() {
    let mut group = Group::new();
    group.first(1, 1, vec![]);
    assert_eq!(group.duties(), [], "a first boot ends nothing");
    group.leader.report(&group.state, booted(1, 3), Report { session: 1, first: true, logs: vec![] });
    assert_eq!(group.duties(), [Entry::EndBoots { node: NodeId(1), counter: 3 }]);
    assert_eq!(group.duties(), []);
}

/// A log of three records, all ordered, that gets no more; and the index of the fact that says so.
fn ended(by_successor: bool) -> (Group, u64) {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    group.first(1, 1, vec![says(o, 1, 4, &[(1, 3)])]);
    group.first(3, 1, vec![says(o, 1, 4, &[(1, 3)])]);
    group.settle();
    if by_successor {
        let predecessor = Some(Predecessor { ordinal: 1, end: 4, overtaking: false });
        let next = || vec![LogReport { predecessor, ..says(log(1, 1, 2), 1, 2, &[(1, 1)]) }];
        group.then(1, 1, next());
        group.then(3, 1, next());
        group.settle();
    } else {
        group.apply(&Entry::EndBoots { node: NodeId(1), counter: 2 });
    }
    let index = group.index;
    (group, index)
}

#[test]
fn a_log_is_closed_when_every_replica_knows_its_end_and_has_exactly_what_is_ordered() {
    type Step = fn(&mut Group, u64, LogName);
    let cases: [(&str, bool, Step); 10] = [
        ("all say so", true, |_, _, _| {}),
        ("one lags", false, |group, index, o| group.held(4, index, &[(o, 3)])),
        ("one has nothing of it", false, |group, index, o| group.held(4, index, &[(o, 1)])),
        ("one has more", false, |group, index, o| group.held(4, index, &[(o, 5)])),
        ("one did not know the end when it spoke", false, |group, index, o| {
            group.held(4, index - 1, &[(o, 4)])
        }),
        ("one does not name it: silence is not held", false, |group, index, _| group.held(4, index, &[])),
        ("one lacks its end, whatever else it says", false, |group, index, o| {
            group.lacks(4, index, &[(o, 4)], &[o])
        }),
        ("one lacks the end of another log", true, |group, index, o| {
            group.lacks(4, index, &[(o, 4)], &[log(9, 1, 1)])
        }),
        ("one has gone", false, |group, _, _| {
            group.first(4, 1, vec![]);
            group.leader.gone(source(4), 1);
        }),
        ("one was silent", false, |group, index, o| {
            for _ in 0..SILENT_TICKS_MAX {
                group.leader.sessions.tick();
            }
            (1..4).for_each(|store| group.held(store, index, &[(o, 4)]));
        }),
    ];
    let o = log(1, 1, 1);
    for (by_successor, (name, closes, step)) in
        [false, true].into_iter().flat_map(|by| cases.map(|case| (by, case)))
    {
        let (mut group, index) = ended(by_successor);
        STORES.into_iter().for_each(|store| group.held(store, index, &[(o, 4)]));
        step(&mut group, index, o);
        let closed = group.duties().contains(&Entry::CloseLogs { logs: vec![(1, 4)] });
        let is_closed = group.state.logs().is_closed(&o);
        assert_eq!((closed, is_closed), (closes, closes), "{name}, by a successor: {by_successor}");
    }
}

#[test]
fn nothing_of_a_closed_log_stays_with_the_leader_once_the_stores_have_taken_it_back() {
    let mut group = Group::new();
    let (o, p) = (log(1, 1, 1), log(2, 1, 1));
    for store in [1, 3] {
        group.first(store, 1, vec![says(o, 1, 4, &[(1, 3)]), says(p, 1, 2, &[(1, 1)])]);
    }
    group.settle();
    group.apply(&Entry::EndBoots { node: NodeId(1), counter: 2 });
    let ended = group.index;
    STORES.into_iter().for_each(|store| group.held(store, ended, &[(o, 4)]));
    group.duties();
    assert!(group.state.logs().is_closed(&o));
    for store in [1, 3] {
        let taken_back = LogReport { log: o, predecessor: None, from: 0, held: 0, runs: Vec::new() };
        assert_eq!(group.then(store, 1, vec![taken_back]), Verdict::Taken);
        let said = digest([(p, 2)]);
        assert_eq!(group.leader.digest(&group.state, source(store), 1, said), Verdict::Taken);
        assert_eq!(group.leader.sessions.logs(NodeId(store)).collect::<Vec<_>>(), [(p, 2)]);
    }
    assert_eq!(group.leader.logs.keys().copied().collect::<Vec<_>>(), [p]);
}

#[test]
fn a_log_that_all_have_to_its_end_stays_open_while_one_of_its_records_is_not_ordered() {
    let mut group = Group::new();
    let o = log(1, 1, 1);
    group.create("two");
    for store in [1, 3] {
        group.first(store, 1, vec![says(o, 1, 4, &[(1, 2), (3, 1)])]);
    }
    group.settle();
    group.apply(&Entry::EndBoots { node: NodeId(1), counter: 2 });
    let index = group.index;
    STORES.into_iter().for_each(|store| group.held(store, index, &[(o, 4)]));
    group.duties();
    assert_eq!(group.ordered(o), 3, "one record's topic is not known yet, and the log is open");
    group.create("three");
    group.settle();
    assert!(group.duties().contains(&Entry::CloseLogs { logs: vec![(1, 4)] }));
}

#[test]
fn what_stores_lack_of_closed_logs_is_known_for_as_long_as_they_say_so() {
    let mut group = Group::new();
    group.lacks(1, 1, &[], &[log(1, 1, 1), log(2, 1, 1)]);
    group.lacks(3, 1, &[], &[log(1, 1, 1)]);
    assert_eq!(group.leader.lacking(), 3);
    group.held(1, 1, &[]);
    assert_eq!(group.leader.lacking(), 1);
    for _ in 0..=SILENT_TICKS_MAX {
        group.leader.sessions.tick();
    }
    assert_eq!(group.leader.lacking(), 0, "silence says nothing");
}

/// What the record of a log is: a function of the sequence, as for every log.
fn content(log: usize, from: u64, upto: u64) -> Vec<(u64, u64)> {
    (from..upto).map(|sequence| ((sequence + log as u64) / 3 % 2 + 1, 1)).collect()
}

/// One step of a history: a store comes to hold more and says so, says everything anew, or a proposal ends.
#[derive(Clone, Debug)]
enum Step {
    Hold { store: usize, log: usize, more: u64 },
    Anew { store: usize },
    Digest { store: usize },
    Commit { which: usize },
    Lose { which: usize },
    Elect,
}

fn step() -> impl Strategy<Value = Step> {
    let (store, log) = (0..STORES.len(), 0usize..2);
    prop_oneof![
        6 => (store.clone(), log, 1u64..9).prop_map(|(store, log, more)| Step::Hold { store, log, more }),
        1 => store.clone().prop_map(|store| Step::Anew { store }),
        1 => store.prop_map(|store| Step::Digest { store }),
        5 => (0usize..3).prop_map(|which| Step::Commit { which }),
        2 => (0usize..3).prop_map(|which| Step::Lose { which }),
        1 => Just(Step::Elect),
    ]
}

/// Four stores, and two logs that they hold to some extent.
struct History {
    group: Group,
    held: [[u64; 2]; 4],
    sessions: [u64; 4],
    proposals: Vec<Proposal>,
}

impl History {
    fn logs() -> [LogName; 2] {
        [log(1, 1, 1), log(3, 1, 1)]
    }

    fn report(&mut self, store: usize, only: Option<usize>) {
        let logs = (0..2).filter(|log| only.is_none_or(|only| only == *log));
        let says = |log: usize| {
            let (name, held) = (Self::logs()[log], self.held[store][log]);
            let from = self.group.ordered(name).min(held);
            says(name, from, held, &content(log, from, held))
        };
        let logs = logs.map(says).collect();
        let (first, session) = (only.is_none(), self.sessions[store]);
        let verdict = match first {
            true => self.group.first(STORES[store], session, logs),
            false => self.group.then(STORES[store], session, logs),
        };
        if verdict == Verdict::Restart {
            self.anew(store);
        }
    }

    fn anew(&mut self, store: usize) {
        self.sessions[store] += 1;
        self.report(store, None);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Hold { store, log, more } => {
                self.held[store][log] += more;
                self.report(store, Some(log));
            }
            Step::Anew { store } => self.anew(store),
            Step::Digest { store } => {
                let said = digest(Self::logs().into_iter().zip(self.held[store]));
                let source = source(STORES[store]);
                let verdict = self.group.leader.digest(&self.group.state, source, self.sessions[store], said);
                if verdict == Verdict::Restart {
                    self.anew(store);
                }
            }
            Step::Commit { which } if which < self.proposals.len() => {
                let proposal = self.proposals.remove(which);
                self.group.commit(&proposal);
            }
            Step::Lose { which } if which < self.proposals.len() => {
                let lost = self.proposals.remove(which);
                self.group.leader.completed(&self.group.state, lost.id, false);
            }
            Step::Commit { .. } | Step::Lose { .. } => {}
            Step::Elect => self.group.leader = Leader::new(self.group.leader.replicas.clone()),
        }
        self.proposals.extend(self.group.assign());
        self.check();
    }

    /// I2: nothing is ordered that two datacenters do not hold.
    fn check(&self) {
        for (log, name) in Self::logs().into_iter().enumerate() {
            let here = self.held[0][log].max(self.held[1][log]);
            let there = self.held[2][log].max(self.held[3][log]);
            assert!(self.group.ordered(name) <= here.min(there));
        }
    }
}

proptest! {
    /// I4: whatever was lost, reordered or forgotten meanwhile, all that two datacenters hold is ordered in the end.
    #[test]
    fn all_that_two_datacenters_hold_is_ordered_in_the_end(steps in prop::collection::vec(step(), 1..120)) {
        let mut group = Group::new();
        group.create("two");
        let mut history =
            History { group, held: [[1; 2]; 4], sessions: [0; 4], proposals: Vec::new() };
        (0..STORES.len()).for_each(|store| history.anew(store));
        steps.into_iter().for_each(|step| history.take(step));
        for _ in 0..3 {
            (0..STORES.len()).for_each(|store| history.take(Step::Digest { store }));
            while !history.proposals.is_empty() {
                history.take(Step::Commit { which: 0 });
            }
        }
        for (log, name) in History::logs().into_iter().enumerate() {
            let here = history.held[0][log].max(history.held[1][log]);
            let there = history.held[2][log].max(history.held[3][log]);
            prop_assert_eq!(history.group.ordered(name), here.min(there));
        }
    }
}
