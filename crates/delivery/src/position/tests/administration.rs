use super::*;

pub(super) fn seek(instance: u64, generation_seen: u64, number: u64, start_id: u64) -> Entry {
    let (consumer, generation_seen) = (consumer("c"), Generation(generation_seen));
    Entry::Seek(Seek { topic_id: TOPIC, consumer, instance, generation_seen, number, start_id })
}

pub(super) fn with_deadline(ack_deadline_ms: u32) -> Options {
    Options { ack_deadline_ms, ..options(Start::Latest) }
}

pub(super) fn update(instance: u64, seen: Options, options: Options) -> Entry {
    Entry::Update(Update { topic_id: TOPIC, consumer: consumer("c"), instance, seen, options })
}

pub(super) fn delete(instance: u64) -> Entry {
    Entry::Delete(Delete { topic_id: TOPIC, consumer: consumer("c"), instance })
}

/// Begun at 5, of which 5 and 6 are acknowledged, by the dispatcher of token 1.
fn at_six() -> Positions {
    let mut positions = dispatched();
    positions.apply(11, commit(9, 0, 1, &[5..7]));
    positions
}

#[test]
fn a_seek_begins_a_generation_and_what_was_under_way_in_the_one_before_counts_no_more() {
    let mut positions = at_six();
    let Answer::Sought { subscription, deposed } = positions.apply(12, seek(9, 0, 77, 3)) else {
        panic!("not sought")
    };
    assert_eq!(deposed, Some(node(1)), "who must hear of it");
    assert_eq!((subscription.generation, subscription.position()), (Generation(1), 2));
    assert!(subscription.acknowledged.is_empty(), "what is replayed is not acknowledged");
    assert_eq!((subscription.dispatcher, subscription.token), (None, FencingToken(2)));
    for (what, entry) in [
        ("the generation before", commit(9, 0, 1, &[3..9])),
        ("its dispatcher in this one", commit(9, 1, 1, &[3..9])),
        ("its generation by nobody", commit(9, 0, 2, &[3..9])),
    ] {
        assert!(matches!(positions.apply(13, entry), Answer::Refused(_)), "{what}");
    }
    assert!(matches!(positions.apply(14, acquire(1, 1)), Answer::Overtaken(_)), "it has to look again");
    assert!(matches!(positions.apply(15, acquire(2, 2)), Answer::Acquired(_)));
    assert_eq!(positions.apply(16, commit(9, 1, 3, &[3..5])), Answer::Committed);
    assert_eq!(found(&positions).position(), 4);
}

#[test]
fn a_seek_counts_once_and_one_that_was_overtaken_not_at_all() {
    let mut positions = at_six();
    positions.apply(12, seek(9, 0, 77, 3));
    positions.apply(13, acquire(2, 1));
    positions.apply(14, commit(9, 1, 3, &[3..5]));
    for generation in 0..3 {
        let again = positions.apply(15, seek(9, generation, 77, 3));
        let Answer::Sought { subscription, deposed: None } = again else { panic!("{again:?}") };
        assert_eq!((subscription.generation, subscription.position()), (Generation(1), 4), "as it went on");
    }
    let Answer::Changed(present) = positions.apply(16, seek(9, 0, 78, 1)) else { panic!("it came late") };
    assert_eq!((present.generation, present.last_seek), (Generation(1), 77));
    assert!(matches!(positions.apply(17, seek(9, 1, 78, 1)), Answer::Sought { .. }));
    let late = positions.apply(18, seek(9, 0, 77, 3));
    assert!(matches!(late, Answer::Changed(_)), "the first again, after the second: {late:?}");
    assert_eq!((found(&positions).generation, found(&positions).position()), (Generation(2), 0));
    let other = positions.apply(19, seek(8, 2, 79, 9));
    assert!(matches!(other, Answer::Changed(_)), "of an instance that is gone: {other:?}");
    let zero = positions.apply(20, seek(9, 1, 0, 9));
    assert!(matches!(zero, Answer::Changed(_)), "without a number nothing is the same: {zero:?}");
}

#[test]
fn seeking_leaves_other_subscriptions_alone() {
    let mut positions = at_six();
    positions.apply(12, create("d", Start::Earliest, 1));
    let before = positions.find(TOPIC, &consumer("d")).cloned();
    positions.apply(13, seek(9, 0, 77, 3));
    assert_eq!(positions.find(TOPIC, &consumer("d")).cloned(), before);
}

#[test]
fn options_change_from_what_was_seen_and_deliveries_under_way_stay() {
    let mut positions = at_six();
    let (first, second) = (options(Start::Latest), with_deadline(1_000));
    let asked = Options { start: Start::Id(99), ..second.clone() };
    let Answer::Updated(updated) = positions.apply(12, update(9, first.clone(), asked.clone())) else {
        panic!("not updated")
    };
    assert_eq!((&updated.options, updated.revision), (&second, 1), "where it began stays");
    assert_eq!((updated.generation, updated.token, updated.position()), (Generation(0), FencingToken(1), 6));
    let Answer::Updated(again) = positions.apply(13, update(9, first.clone(), asked)) else {
        panic!("a repetition")
    };
    assert_eq!(again.revision, 1);
    let third = with_deadline(2_000);
    let Answer::Changed(present) = positions.apply(14, update(9, first, third.clone())) else {
        panic!("it has not seen the second")
    };
    assert_eq!(present.options, second);
    assert!(matches!(positions.apply(15, update(8, second.clone(), third)), Answer::Changed(_)));
    assert_eq!(positions.apply(16, commit(9, 0, 1, &[7..8])), Answer::Committed);
    assert!(matches!(positions.apply(17, create("c", Start::Latest, 1)), Answer::Differs(_)));
}

#[test]
fn what_is_deleted_is_gone_and_created_again_it_is_another_instance() {
    let mut positions = at_six();
    assert_eq!(positions.apply(12, delete(8)), Answer::NotFound, "another instance");
    assert_eq!(positions.apply(13, delete(9)), Answer::Deleted { deposed: Some(node(1)) });
    assert_eq!((positions.len(), positions.by_name.len()), (0, 0));
    assert_eq!(positions.apply(14, delete(9)), Answer::NotFound, "again");
    for entry in [commit(9, 0, 1, &[7..8]), acquire(1, 1), seek(9, 0, 77, 3)] {
        assert_eq!(positions.apply(15, entry), Answer::NotFound);
    }
    positions.apply(16, create("c", Start::Earliest, 1));
    assert_eq!(positions.apply(17, delete(9)), Answer::NotFound, "one that came late ends nothing new");
    positions.apply(18, acquire(0, 2));
    assert!(matches!(positions.apply(19, commit(9, 0, 1, &[1..8])), Answer::Refused(_)));
    assert_eq!((found(&positions).instance, found(&positions).position()), (16, 0));
}

#[test]
fn a_snapshot_knows_of_seeks_and_changes() {
    let mut positions = at_six();
    positions.apply(12, seek(9, 0, 77, 3));
    positions.apply(13, update(9, options(Start::Latest), with_deadline(1_000)));
    let mut restored = Positions::default();
    snapshot::restore(&mut restored, &snapshot::encode(&positions)).unwrap();
    assert_eq!(restored.subscriptions, positions.subscriptions);
    let again = restored.apply(14, seek(9, 0, 77, 3));
    assert!(matches!(again, Answer::Sought { deposed: None, .. }), "{again:?}");
}
