//! What a leader says of producers, and when it lets one be forgotten.

use trunkline_types::limits::PRODUCER_KEPT_MIN;
use trunkline_types::{Produced, ProducerId};

use super::super::super::entry::{Kind, ProducerReference};
use super::*;

const TOPIC: TopicId = TopicId(1 << 16);

fn of(sequence: u64, count: u64) -> Run {
    let produced = Some(Produced { producer: ProducerId([7; 16]), sequence });
    Run { topic: TOPIC, count, produced }
}

fn tells(log: LogName, from: u64, runs: &[Run]) -> LogReport {
    let held = from + runs.iter().map(|run| run.count).sum::<u64>();
    LogReport { log, predecessor: None, from, held, runs: runs.to_vec() }
}

/// How the runs of the first part are said.
fn kinds(proposal: &Option<Proposal>) -> Vec<Kind> {
    let Some(Proposal { entry: Entry::Assign(assignment), .. }) = proposal else { return Vec::new() };
    assignment.logs[0].runs.iter().map(|run| run.kind).collect()
}

fn produced(producer: ProducerReference, sequence: u64) -> Kind {
    Kind::Produced { topic_counter: 1, producer, sequence }
}

#[test]
fn a_producer_is_said_by_its_id_then_by_its_number_and_what_goes_on_in_short() {
    let mut group = Group::new();
    let log = log(1, 1, 1);
    for store in [1, 3] {
        group.first(store, 1, vec![tells(log, 1, &[of(1, 2), of(9, 1)])]);
    }
    let (first, id) = (group.assign(), ProducerReference::Id(ProducerId([7; 16])));
    assert_eq!(kinds(&first), [produced(id, 1), produced(id, 9)]);
    for store in [1, 3] {
        group.then(store, 1, vec![tells(log, 4, &[of(10, 1), of(3, 1)])]);
    }
    let second = group.assign();
    assert_eq!(kinds(&second), [Kind::AsBefore, produced(id, 3)], "what was proposed, if it is committed");
    group.commit(&first.unwrap());
    group.commit(&second.unwrap());
    for store in [1, 3] {
        group.then(store, 1, vec![tells(log, 6, &[of(5, 1), of(4, 2)])]);
    }
    let number = ProducerReference::Number(1);
    assert_eq!(kinds(&group.assign()), [produced(number, 5), produced(number, 4)]);
}

#[test]
fn a_new_leader_goes_on_from_what_is_ordered() {
    let mut group = Group::new();
    let log = log(1, 1, 1);
    for store in [1, 3] {
        group.first(store, 1, vec![tells(log, 1, &[of(1, 2)])]);
    }
    group.settle();
    group.leader = Leader::new(group.leader.replicas.clone());
    for store in [1, 3] {
        group.first(store, 2, vec![tells(log, 3, &[of(3, 2)])]);
    }
    let proposal = group.assign();
    assert_eq!(kinds(&proposal), [Kind::AsBefore]);
    group.commit(&proposal.unwrap());
    assert_eq!(group.state.producers().get(TOPIC, 1).map(|known| known.sequences.len()), Some(4));
}

#[test]
fn what_was_lost_is_said_again_in_full() {
    let mut group = Group::new();
    let log = log(1, 1, 1);
    for store in [1, 3] {
        group.first(store, 1, vec![tells(log, 1, &[of(1, 2)])]);
    }
    let lost = group.assign().unwrap();
    for store in [1, 3] {
        group.then(store, 1, vec![tells(log, 3, &[of(3, 2)])]);
    }
    let second = group.assign().unwrap();
    assert_eq!(kinds(&Some(second.clone())), [Kind::AsBefore]);
    group.leader.completed(&group.state, lost.id, false);
    group.apply(&second.entry);
    assert_eq!(group.ordered(log), 1, "it goes on from what is not there");
    group.settle();
    group.apply(&second.entry);
    assert_eq!((group.ordered(log), group.state.topics().get(TOPIC).unwrap().next_id), (5, 5));
}

/// All four stores have reported everything, and know of everything.
fn quiet() -> Group {
    let mut group = Group::new();
    let log = log(1, 1, 1);
    for store in STORES {
        group.first(store, 1, vec![tells(log, 1, &[of(1, 2)])]);
    }
    group.settle();
    let configured = group.state.topics().get(TOPIC).unwrap().configured;
    let retention = Retention { age_ms: 1_000, ..Retention::default() };
    group.apply(&Entry::ConfigureTopic { topic: TOPIC, configured, options: Vec::new(), retention });
    let now = u64::try_from(PRODUCER_KEPT_MIN.as_millis()).unwrap();
    group.apply(&Entry::Assign(Assignment { order_time_ms: now, ..Assignment::default() }));
    STORES.into_iter().for_each(|store| group.hear_all(store, 3));
    group
}

impl Group {
    /// A store's word of the second: where its index is, and that it has told of all that it holds.
    fn hear_all(&mut self, store: u64, held: u64) {
        self.held(store, self.index, &[]);
        let said = digest([(log(1, 1, 1), held)]);
        assert_eq!(self.leader.digest(&self.state, source(store), 1, said), Verdict::Taken);
    }

    fn forgets(&mut self) -> bool {
        self.duties().iter().any(|entry| matches!(entry, Entry::ForgetProducers { .. }))
    }
}

#[test]
fn a_silent_producer_is_forgotten_once_every_store_has_said_that_nothing_of_it_is_left() {
    let mut group = quiet();
    assert!(group.forgets());
    assert_eq!(group.state.producers().of(TOPIC).count(), 0);
    assert!(!group.forgets(), "there is none left");
}

#[test]
fn nobody_is_forgotten_while_a_store_may_have_more_of_it() {
    type Change = fn(&mut Group);
    let cases: [(&str, Change); 5] = [
        ("a store is away", |group| group.leader.gone(source(4), 1)),
        ("its facts are not so far", |group| group.held(4, 1, &[])),
        ("it has begun anew, and has not told everything", |group| {
            group.first(4, 2, vec![]);
            group.held(4, group.index, &[]);
        }),
        ("it alone has a straggler", |group| {
            group.then(4, 1, vec![tells(log(4, 1, 1), 1, &[of(1, 1)])]);
        }),
        ("it has more than it could say what it is", |group| {
            group.then(4, 1, vec![LogReport { held: 9, ..tells(log(4, 1, 1), 1, &[run(1, 1)]) }]);
        }),
    ];
    for (name, change) in cases {
        let mut group = quiet();
        change(&mut group);
        assert!(!group.forgets(), "{name}");
        assert_eq!(group.state.producers().of(TOPIC).count(), 1, "{name}");
    }
    let mut group = quiet();
    group.then(4, 1, vec![tells(log(4, 1, 1), 1, &[run(1, 1)])]);
    assert!(group.forgets(), "what it alone has is of nobody");
}

#[test]
fn a_producer_that_has_pushed_lately_is_kept_and_those_behind_it_are_looked_at() {
    let mut group = quiet();
    for store in STORES {
        let other =
            Run { produced: Some(Produced { producer: ProducerId([8; 16]), sequence: 1 }), ..of(1, 1) };
        group.then(store, 1, vec![tells(log(1, 1, 1), 3, &[other])]);
    }
    group.settle();
    STORES.into_iter().for_each(|store| group.hear_all(store, 4));
    assert!(group.forgets(), "the first one");
    let kept: Vec<_> = group.state.producers().of(TOPIC).map(|(_, known)| known.id).collect();
    assert_eq!(kept, [ProducerId([8; 16])]);
}
