//! What the facts say of producers, as rows and in memory.

use trunkline_types::{IntervalSet, Produced, ProducerId};

use super::*;

fn of(producer: u8, sequence: u64) -> Produced {
    Produced { producer: ProducerId([producer; 16]), sequence }
}

fn produced(first_id: u64, count: u64, produced: Produced) -> OrderedRun {
    OrderedRun { produced: Some(produced), ..run(1, first_id, count) }
}

/// Stages the facts of the next index; rows of producers among what is to be written.
fn stage(store: &mut Store, facts: Vec<Fact>) -> Vec<Row> {
    store.facts += 1;
    let (mut rows, at) = (Vec::new(), FactsAt { index: store.facts, facts });
    store.catalog.stage(GROUP, at, &mut rows, &mut store.unsettled).unwrap();
    let is_of_producers = |row: &Row| {
        let forgets = matches!(row, Row::ForgetProducer { .. } | Row::ForgetProducers(_));
        forgets || matches!(row, Row::Sequences { .. } | Row::Producer { .. })
    };
    rows.into_iter().filter(is_of_producers).collect()
}

fn ranges(store: &Store, producer: u8) -> Vec<std::ops::Range<u64>> {
    let known = store.catalog.producers().sequences(topic(1), &of(producer, 1).producer);
    known.into_iter().flat_map(IntervalSet::iter).collect()
}

fn sequences(first: Produced, first_id: u64, count: u64) -> [Row; 2] {
    let producer = first.producer;
    [Row::Sequences { topic: topic(1), first, first_id, count }, Row::Producer { topic: topic(1), producer }]
}

fn store() -> Store {
    let mut store = Store::new();
    store.accept(name(1, 1), &[topic(1); 9]);
    store.facts(vec![created(1), opened(5, name(1, 1))]).unwrap();
    store
}

#[test]
fn sequences_are_found_by_their_first_id_and_duplicates_leave_no_row() {
    let mut store = store();
    let runs =
        vec![produced(1, 2, of(1, 4)), produced(0, 1, of(1, 5)), run(1, 3, 1), produced(4, 1, of(2, 5))];
    let rows = stage(&mut store, vec![Fact::Ordered { number: 5, from: 1, runs }]);
    assert_eq!(rows, [sequences(of(1, 4), 1, 2), sequences(of(2, 5), 4, 1)].concat());
    assert_eq!((ranges(&store, 1), ranges(&store, 2)), (vec![4..6], vec![5..6]));
    let again = produced(5, 1, of(1, 1));
    let rows = stage(&mut store, vec![Fact::Ordered { number: 5, from: 6, runs: vec![again] }]);
    assert_eq!(rows, sequences(of(1, 1), 5, 1));
    assert_eq!(ranges(&store, 1), [1..2, 4..6], "a straggler below is no duplicate");
}

#[test]
fn a_producer_goes_with_the_fact_that_says_so_or_with_its_topic() {
    let mut store = store();
    let runs = vec![produced(1, 2, of(1, 4)), produced(3, 1, of(2, 5)), produced(4, 1, of(3, 5))];
    stage(&mut store, vec![Fact::Ordered { number: 5, from: 1, runs }]);
    let producers = vec![of(1, 1).producer, of(9, 1).producer];
    let forgotten = |producer| Row::ForgetProducer { topic: topic(1), producer };
    let rows =
        stage(&mut store, vec![Fact::ProducersForgotten { topic: topic(1), producers: producers.clone() }]);
    assert_eq!(rows, [forgotten(producers[0]), forgotten(producers[1])]);
    assert_eq!(
        (ranges(&store, 1), ranges(&store, 2), store.catalog.producers().count()),
        (vec![], vec![5..6], 2)
    );
    let rows = stage(&mut store, vec![Fact::TopicDeleted { topic: topic(1) }]);
    assert_eq!((rows, store.catalog.producers().count()), (vec![Row::ForgetProducers(topic(1))], 0));
}

#[test]
fn a_copy_replaces_what_was_known_of_a_topics_producers() {
    let mut store = store();
    let runs = vec![produced(1, 2, of(1, 4)), produced(3, 1, of(2, 5))];
    stage(&mut store, vec![Fact::Ordered { number: 5, from: 1, runs }]);
    let there = CopiedTopic {
        topic: topic(1),
        name: "t1".to_owned(),
        options: vec![],
        deleted_at: 0,
        next: 9,
        trimmed: 1,
    };
    let known = [((topic(1), of(1, 1).producer), IntervalSet::from_iter([1..8]))].into();
    let copied = Copied { topics: vec![there], producers: known, ..Copied::default() };
    store.catalog.stage_copy(GROUP, copied, &mut Vec::new(), &mut store.unsettled);
    assert_eq!(
        (ranges(&store, 1), ranges(&store, 2)),
        (vec![1..8], vec![]),
        "the second was forgotten meanwhile"
    );
}

#[test]
fn reports_say_what_records_are_called() {
    let mut store = Store::new();
    let no = store.catalog.open_log(name(1, 1), None, &mut Vec::new());
    let kinds = [Some(of(1, 1)), Some(of(1, 2)), None, Some(of(1, 4))].map(|of| Run::of(topic(1), of));
    assert_eq!(store.catalog.accept(no, 1, &kinds), Accepted::New(1..5));
    store.written(no, 5);
    let mut reports = Reports::new(GROUP);
    reports.restart(&store.catalog);
    let report = reports.next(&store.catalog).unwrap();
    let run = |count, produced| Run { topic: topic(1), count, produced };
    assert_eq!(report.logs[0].runs, [run(2, Some(of(1, 1))), run(1, None), run(1, Some(of(1, 4)))]);
}
