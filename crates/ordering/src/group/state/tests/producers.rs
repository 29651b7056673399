//! I6: of all records of one (topic, producer, sequence) the first that is decided gets an ID, and no other.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_types::ProducerId;
use trunkline_types::limits::{ENTRY_FACT_RUNS_MAX, PRODUCER_KEPT_MIN, PRODUCER_SEQUENCE_MAX};

use super::super::super::entry::ProducerReference;
use super::*;

fn id(producer: u8) -> ProducerId {
    ProducerId([producer; 16])
}

fn produced(topic_counter: u64, producer: u8, sequence: u64, count: u64) -> PartRun {
    let producer = ProducerReference::Id(id(producer));
    PartRun { kind: Kind::Produced { topic_counter, producer, sequence }, count }
}

fn numbered_run(number: u32, sequence: u64, count: u64) -> PartRun {
    let producer = ProducerReference::Number(number);
    PartRun { kind: Kind::Produced { topic_counter: 1, producer, sequence }, count }
}

fn as_before(count: u64) -> PartRun {
    PartRun { kind: Kind::AsBefore, count }
}

fn plain(topic_counter: u64, count: u64) -> PartRun {
    PartRun { kind: Kind::Topic(topic_counter), count }
}

fn of(node: u64, from: u64, runs: &[PartRun]) -> LogPart {
    let log = LogReference::Name { name: log(node, 1, 1), predecessor: None };
    LogPart { log, from, runs: runs.to_vec() }
}

impl Group {
    /// (first ID, count, first sequence or 0) of what the last entry decided.
    fn decided(&self) -> Vec<(u64, u64, u64)> {
        let runs = self.last_facts().into_iter().filter_map(|fact| match fact {
            Fact::Ordered { runs, .. } => Some(runs),
            _ => None,
        });
        let sequence = |run: &OrderedRun| run.produced.map_or(0, |produced| produced.sequence);
        runs.flatten().map(|run| (run.first_id, run.count, sequence(&run))).collect()
    }

    /// The first topic's messages are kept for so long.
    fn keeps_for(&mut self, age_ms: u64) {
        let topic = TopicId::new(1, Bucket(0));
        let configured = self.state.topics().get(topic).unwrap().configured;
        let retention = Retention { age_ms, ..Retention::default() };
        let taken = self.apply(&Entry::ConfigureTopic { topic, configured, options: Vec::new(), retention });
        assert!(matches!(taken, Answer::Configured { taken: true, .. }));
    }

    fn time(&mut self, order_time_ms: u64) {
        self.apply(&Entry::Assign(Assignment { order_time_ms, ..Assignment::default() }));
    }
}

#[test]
fn a_repetition_through_another_log_gets_no_id_and_a_straggler_with_a_lower_sequence_does() {
    let mut group = Group::new();
    // (log, from, run; what it comes to: first ID, count, first sequence)
    type Row = (u64, u64, PartRun, &'static [(u64, u64, u64)]);
    let rows: [Row; 8] = [
        (1, 1, produced(1, 7, 2, 1), &[(1, 1, 2)]),
        (2, 1, produced(1, 7, 1, 1), &[(2, 1, 1)]),
        (2, 2, produced(1, 7, 1, 3), &[(0, 2, 1), (3, 1, 3)]),
        (1, 2, produced(1, 7, 3, 1), &[(0, 1, 3)]),
        (1, 3, produced(1, 8, 3, 1), &[(4, 1, 3)]),
        (1, 4, produced(2, 7, 3, 1), &[(1, 1, 3)]),
        (1, 5, produced(1, 7, 9, 2), &[(5, 2, 9)]),
        (2, 5, produced(1, 7, 2, 9), &[(0, 2, 2), (7, 5, 4), (0, 2, 9)]),
    ];
    for (log, from, run, expected) in rows {
        assert_eq!(group.assign(of(log, from, &[run])), run.count, "each is decided");
        assert_eq!(group.decided(), expected, "{run:?}");
    }
    let known = group.state.producers().get(TopicId::new(1, Bucket(0)), 1).unwrap();
    assert_eq!((known.id, known.sequences.iter().collect::<Vec<_>>()), (id(7), vec![1..11]));
}

#[test]
fn a_duplicate_within_one_entry_is_one_too_and_pushes_without_a_producer_never_are() {
    let mut group = Group::new();
    group.assign(of(1, 1, &[produced(1, 7, 1, 2), plain(1, 1), produced(1, 7, 2, 2), plain(1, 1)]));
    assert_eq!(group.decided(), [(1, 2, 1), (3, 1, 0), (0, 1, 2), (4, 1, 3), (5, 1, 0)]);
    let duplicates = |run: &OrderedRun| run.is_duplicate();
    let Some(Fact::Ordered { runs, .. }) = group.last_facts().pop() else { panic!("nothing was ordered") };
    assert_eq!(runs.iter().map(duplicates).collect::<Vec<_>>(), [false, false, true, false, false]);
}

#[test]
fn a_repeated_proposal_decides_only_what_is_new_of_it() {
    let mut group = Group::new();
    group.assign(of(1, 1, &[produced(1, 7, 1, 3)]));
    assert_eq!(group.assign(of(1, 1, &[produced(1, 7, 1, 5)])), 2);
    assert_eq!(group.decided(), [(4, 2, 4)]);
    assert_eq!(group.assign(of(1, 1, &[produced(1, 7, 1, 5)])), 0);
    assert_eq!(group.next_id(1), 6);
}

#[test]
fn what_is_as_before_is_as_the_logs_record_before_it_also_where_some_of_it_is_decided() {
    let mut group = Group::new();
    assert_eq!(group.assign(of(1, 1, &[as_before(1)])), 0, "there is none before");
    group.assign(of(1, 1, &[produced(1, 7, 1, 2)]));
    assert_eq!((group.assign(of(1, 3, &[as_before(2)])), group.decided()), (2, vec![(3, 2, 3)]));
    assert_eq!((group.assign(of(1, 3, &[as_before(5)])), group.decided()), (3, vec![(5, 3, 5)]));
    assert_eq!(group.assign(of(1, 9, &[as_before(1)])), 0, "8 is missing");
    // All of the first is decided: what the second is, it says itself.
    assert_eq!(group.assign(of(1, 3, &[as_before(5), plain(2, 1), as_before(2)])), 3);
    assert_eq!(group.ordered(), [(2, 1, 3)]);
    group.state = State::restore(SHAPE, &group.state.snapshot()).unwrap();
    assert_eq!((group.assign(of(1, 11, &[as_before(1)])), group.ordered()), (1, vec![(2, 4, 1)]));
    group.assign(of(1, 12, &[produced(1, 7, 3, 1)]));
    assert_eq!((group.assign(of(1, 13, &[as_before(6)])), group.decided()), (6, vec![(0, 4, 4), (8, 2, 8)]));
}

#[test]
fn a_number_stands_for_its_producer_until_that_is_forgotten() {
    let mut group = Group::new();
    assert_eq!(group.assign(of(1, 1, &[numbered_run(1, 1, 1)])), 0, "no such number");
    group.assign(of(1, 1, &[produced(1, 7, 1, 1)]));
    assert_eq!(
        (group.assign(of(1, 2, &[numbered_run(1, 1, 2)])), group.decided()),
        (2, vec![(0, 1, 1), (2, 1, 2)])
    );
    let last = group.index;
    let topic = TopicId::new(1, Bucket(0));
    let forget = Entry::ForgetProducers { topic, producers: vec![(1, last), (9, last)] };
    let kept = u64::try_from(PRODUCER_KEPT_MIN.as_millis()).unwrap();
    group.keeps_for(kept + 1);
    assert_eq!(group.apply(&forget), Answer::Noted(0), "too early");
    group.time(kept);
    assert_eq!(group.apply(&forget), Answer::Noted(0), "messages are kept for longer");
    group.keeps_for(1_000);
    assert_eq!(group.apply(&forget), Answer::Noted(1));
    assert_eq!(group.last_facts(), [Fact::ProducersForgotten { topic, producers: vec![id(7)] }]);
    assert_eq!(group.apply(&forget), Answer::Noted(0), "once");
    assert_eq!(group.assign(of(1, 4, &[numbered_run(1, 3, 1)])), 0);
    assert_eq!(group.assign(of(1, 4, &[as_before(1)])), 1, "what the log's records are is not forgotten");
    assert_eq!(group.state.producers().number(topic, &id(7)), Some(2), "and numbers are never given again");
}

#[test]
fn a_producer_that_has_pushed_since_is_not_forgotten() {
    let mut group = Group::new();
    group.assign(of(1, 1, &[produced(1, 7, 1, 1)]));
    let forget =
        Entry::ForgetProducers { topic: TopicId::new(1, Bucket(0)), producers: vec![(1, group.index)] };
    group.keeps_for(1_000);
    group.time(u64::try_from(PRODUCER_KEPT_MIN.as_millis()).unwrap());
    group.assign(of(2, 1, &[produced(1, 7, 1, 1)]));
    assert_eq!(group.decided(), [(0, 1, 1)], "be it a duplicate");
    assert_eq!(group.apply(&forget), Answer::Noted(0));
}

#[test]
fn a_deleted_topic_has_no_producers_and_what_comes_for_it_is_no_duplicate() {
    let mut group = Group::new();
    group.assign(of(1, 1, &[produced(1, 7, 1, 1)]));
    let topic = TopicId::new(1, Bucket(0));
    group.apply(&Entry::DeleteTopic { topic });
    assert_eq!(group.assign(of(1, 2, &[numbered_run(1, 1, 1)])), 0, "its numbers are gone");
    assert_eq!(group.assign(of(1, 2, &[produced(1, 7, 1, 1)])), 1);
    let Some(Fact::Ordered { runs, .. }) = group.last_facts().pop() else { panic!("nothing was ordered") };
    assert_eq!(runs, [OrderedRun { topic, first_id: 0, count: 1, produced: None }]);
    assert_eq!(group.state.producers().of(topic).count(), 0);
}

#[test]
fn sequences_that_nobody_can_have_counted_to_are_refused() {
    let mut group = Group::new();
    for (sequence, count, decided) in [
        (0, 1, 0),
        (u64::MAX, 1, 0),
        (PRODUCER_SEQUENCE_MAX, 2, 0),
        (1, u64::MAX, 0),
        (PRODUCER_SEQUENCE_MAX, 1, 1),
    ] {
        assert_eq!(group.assign(of(1, 1, &[produced(1, 7, sequence, count)])), decided, "{sequence} {count}");
    }
}

#[test]
fn an_entry_of_which_too_much_comes_stops_and_the_rest_is_for_the_next() {
    let mut group = Group::new();
    // Every other sequence is known: each record is a run of its own. That its log is opened takes the room of one.
    let many = ENTRY_FACT_RUNS_MAX as u64 - 1;
    let odd: Vec<PartRun> = (0..=many).map(|nth| produced(1, 7, 2 * nth + 1, 1)).collect();
    assert_eq!(group.assign(of(1, 1, &odd)), many);
    let all = produced(1, 7, 1, 2 * many);
    assert_eq!(group.assign(of(2, 1, &[all])), many, "as many as there is room for");
    assert_eq!(group.assign(of(2, 1, &[all])), many);
    assert_eq!(group.next_id(1), 2 * many + 1);
}

/// What a log's record is: of three producers, in one of two topics, with retries in other logs and places.
fn content(which: u64, place: u64) -> Run {
    let topic = TopicId::new(place % 5 / 4 + 1, Bucket(0));
    let producer = u8::try_from((place / 4 + which) % 3).unwrap();
    let sequence = 1 + (place * which) % 9 + place / 6;
    let produced = Produced { producer: id(producer), sequence };
    Run::of(topic, (place % 7 > 0).then_some(produced))
}

/// The records [from, upto) of a log as a part says them, by numbers where they are known.
fn said(state: &State, which: u64, from: u64, upto: u64, in_short: bool) -> Vec<PartRun> {
    let mut runs: Vec<Run> = Vec::new();
    for place in from..upto {
        match runs.last_mut() {
            Some(last) if last.continues_with(&content(which, place)) => last.count += 1,
            _ => runs.push(content(which, place)),
        }
    }
    let kind = |run: &Run| match run.produced {
        None => Kind::Topic(run.topic.counter()),
        Some(Produced { producer, sequence }) => {
            let number = state.producers().number(run.topic, &producer).filter(|_| in_short);
            let producer = number.map_or(ProducerReference::Id(producer), ProducerReference::Number);
            Kind::Produced { topic_counter: run.topic.counter(), producer, sequence }
        }
    };
    let mut said: Vec<PartRun> =
        runs.iter().map(|run| PartRun { kind: kind(run), count: run.count }).collect();
    if in_short && from > 1 && content(which, from - 1).continues_with(&runs[0]) {
        said[0].kind = Kind::AsBefore;
    }
    said
}

proptest! {
    /// Proposals of any leaders, repeated, overlapping, some lost, in any order; a voter restored from a snapshot.
    #[test]
    fn exactly_one_of_each_name_gets_an_id_the_first_that_is_decided(
        proposals in prop::collection::vec((1u64..4, 1u64..25, 1u64..14, any::<bool>()), 1..80), snapshot_at in 0usize..60,
    ) {
        let mut group = Group::new();
        let mut other: Option<State> = None;
        for (step, (which, from, length, in_short)) in proposals.into_iter().enumerate() {
            let runs = said(&group.state, which, from, from + length, in_short);
            let entry = assign(vec![of(which, from, &runs)]);
            group.apply(&entry);
            if let Some(other) = &mut other { other.apply(group.index, &entry); }
            if step == snapshot_at { other = Some(State::restore(SHAPE, &group.state.snapshot()).unwrap()); }
        }
        if let Some(other) = other {
            prop_assert_eq!(other.hash(), group.state.hash());
            prop_assert_eq!(&other, &group.state);
        }
        let mut names: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut ids, mut with_id) = (BTreeMap::new(), BTreeSet::new());
        for fact in group.facts(0) {
            let (number, from, runs) = match fact {
                Fact::LogOpened { number, log, .. } => { names.insert(number, log.node.0); continue; }
                Fact::Ordered { number, from, runs, .. } => (number, from, runs),
                _ => continue,
            };
            let mut place = from;
            for run in runs {
                for nth in 0..run.count {
                    let record = content(names[&number], place);
                    prop_assert_eq!((run.topic, run.produced.map(|p| p.plus(nth))), (record.topic, record.produced));
                    let is_new = record.produced.is_none_or(|of| with_id.insert((record.topic, of)));
                    prop_assert_eq!(run.is_duplicate(), !is_new, "{:?}", record);
                    if is_new {
                        let next = ids.entry(run.topic).or_insert(1);
                        prop_assert_eq!(run.first_id + nth, *next, "dense");
                        *next += 1;
                    }
                    place += 1;
                }
            }
        }
        for (topic, of) in with_id {
            prop_assert!(group.state.producers().is_decided(topic, &of));
        }
    }
}
