mod administration;

use trunkline_types::{Generation, NodeId};

use super::*;

const TOPIC: TopicId = TopicId(7 << 16 | 5);

fn consumer(name: &str) -> ConsumerName {
    ConsumerName::new(name).unwrap()
}

fn options(start: Start) -> Options {
    Options { start, ack_mode: AckMode::OnNextPop, ack_deadline_ms: 30_000 }
}

fn create(name: &str, start: Start, start_id: u64) -> Entry {
    let topic = TopicName::new("orders").unwrap();
    Entry::Create(Create {
        topic_id: TOPIC,
        topic,
        consumer: consumer(name),
        options: options(start),
        start_id,
    })
}

fn node(id: u64) -> DispatcherNode {
    DispatcherNode { node: NodeId(id), datacenter: "nyc".to_owned(), address: "127.0.0.1:7103".to_owned() }
}

fn acquire(seen: u64, id: u64) -> Entry {
    let consumer = consumer("c");
    Entry::Acquire(Acquire {
        topic_id: TOPIC,
        consumer,
        token_seen: FencingToken(seen),
        dispatcher: node(id),
    })
}

fn commit(instance: u64, generation: u64, token: u64, ranges: &[std::ops::Range<u64>]) -> Entry {
    Entry::Commit(Commit {
        topic_id: TOPIC,
        consumer: consumer("c"),
        instance,
        generation: Generation(generation),
        token: FencingToken(token),
        acknowledged: ranges.iter().cloned().collect(),
    })
}

fn dispatched() -> Positions {
    let mut positions = Positions::default();
    positions.apply(9, create("c", Start::Latest, 5));
    positions.apply(10, acquire(0, 1));
    positions
}

fn found(positions: &Positions) -> &Subscription {
    positions.find(TOPIC, &consumer("c")).unwrap()
}

#[test]
fn creating_again_compares_the_start_as_asked_for_and_not_as_resolved() {
    let mut positions = Positions::default();
    let Answer::Created(first) = positions.apply(9, create("c", Start::Latest, 5)) else {
        panic!("not created")
    };
    assert_eq!((first.instance, first.position(), first.token), (9, 4, FencingToken(0)));
    assert_eq!(positions.apply(10, create("c", Start::Latest, 99)), Answer::Existing(first.clone()));
    assert_eq!(positions.apply(11, create("c", Start::Id(5), 5)), Answer::Differs(first.clone()));
    assert_eq!(positions.apply(12, create("c", Start::Earliest, 1)), Answer::Differs(first));
}

#[test]
fn a_full_group_refuses_new_subscriptions_and_answers_the_old() {
    let mut positions = Positions::new(1);
    positions.apply(1, create("a", Start::Latest, 1));
    assert_eq!(positions.apply(2, create("b", Start::Latest, 1)), Answer::Full);
    assert!(matches!(positions.apply(3, create("a", Start::Latest, 1)), Answer::Existing(_)));
}

#[test]
fn of_two_that_saw_the_same_token_one_becomes_the_dispatcher() {
    let mut positions = Positions::default();
    assert_eq!(positions.apply(8, acquire(0, 1)), Answer::NotFound);
    positions.apply(9, create("c", Start::Latest, 5));
    let Answer::Acquired(won) = positions.apply(10, acquire(0, 1)) else { panic!("not acquired") };
    assert_eq!((won.token, won.dispatcher), (FencingToken(1), Some(node(1))));
    let Answer::Overtaken(lost) = positions.apply(11, acquire(0, 2)) else { panic!("not overtaken") };
    assert_eq!((lost.token, lost.dispatcher), (FencingToken(1), Some(node(1))));
    assert!(matches!(positions.apply(12, acquire(1, 2)), Answer::Acquired(_)));
}

#[test]
fn a_commit_counts_only_under_the_present_instance_generation_and_token() {
    for (what, entry) in [
        ("an old instance", commit(8, 0, 1, &[5..7])),
        ("another generation", commit(9, 1, 1, &[5..7])),
        ("an old token", commit(9, 0, 0, &[5..7])),
        ("a token that was never given", commit(9, 0, 2, &[5..7])),
    ] {
        let mut positions = dispatched();
        let Answer::Refused(present) = positions.apply(11, entry) else { panic!("{what} was accepted") };
        assert_eq!((present.instance, present.token), (9, FencingToken(1)), "{what}");
        assert_eq!(found(&positions).position(), 4, "{what}");
    }
    let mut positions = dispatched();
    assert_eq!(positions.apply(11, commit(9, 0, 1, &[5..7])), Answer::Committed);
    assert_eq!(found(&positions).position(), 6);
}

#[test]
fn a_position_is_an_exact_set_and_never_a_high_water_mark() {
    let mut positions = dispatched();
    assert_eq!(positions.apply(11, commit(9, 0, 1, &[8..10, 1..6])), Answer::Committed);
    assert_eq!(found(&positions).position(), 5, "6 and 7 are not acknowledged");
    assert_eq!(
        positions.apply(12, commit(9, 0, 1, &[])),
        Answer::Committed,
        "an empty commit confirms the token"
    );
    assert_eq!(positions.apply(13, commit(9, 0, 1, &[6..8])), Answer::Committed);
    assert_eq!(found(&positions).position(), 9);
    assert_eq!(
        found(&positions).acknowledged,
        [5..10].into_iter().collect(),
        "nothing below the start is kept"
    );
}

#[test]
fn a_subscription_keeps_a_bounded_number_of_ranges() {
    let mut positions = dispatched();
    let scattered = |count: u64| (0..count).map(|n| 10 + 2 * n..11 + 2 * n).collect::<Vec<_>>();
    let most = ACKNOWLEDGED_RANGES_MAX as u64;
    assert_eq!(positions.apply(11, commit(9, 0, 1, &scattered(most + 1))), Answer::TooManyRanges);
    assert!(found(&positions).acknowledged.is_empty(), "nothing of it was applied");
    assert_eq!(positions.apply(12, commit(9, 0, 1, &scattered(most))), Answer::Committed);
}

#[test]
fn lists_go_by_topic_then_consumer_in_pages() {
    let mut positions = Positions::default();
    for (index, (topic, by)) in [("b", "x"), ("a", "y"), ("a", "x"), ("c", "x")].into_iter().enumerate() {
        let index = index as u64 + 1;
        positions.apply(
            index,
            Entry::Create(Create {
                topic_id: TopicId(index << 16),
                topic: TopicName::new(topic).unwrap(),
                consumer: consumer(by),
                options: options(Start::Latest),
                start_id: 1,
            }),
        );
    }
    let names = |page: &Page<'_>| {
        let name = |found: &&Subscription| format!("{}/{}", found.topic, found.consumer);
        page.subscriptions.iter().map(name).collect::<Vec<_>>()
    };
    let first = positions.page(None, None, None, 3);
    assert_eq!(names(&first), ["a/x", "a/y", "b/x"]);
    let second = positions.page(None, None, first.scanned, 3);
    assert_eq!((names(&second), second.scanned), (vec!["c/x".to_owned()], None));
    let a = TopicName::new("a").unwrap();
    assert_eq!(names(&positions.page(Some(&a), None, None, 10)), ["a/x", "a/y"]);
    assert_eq!(names(&positions.page(None, Some(&consumer("x")), None, 10)), ["a/x", "b/x", "c/x"]);
}

#[test]
fn a_snapshot_restores_everything() {
    let mut positions = dispatched();
    positions.apply(11, commit(9, 0, 1, &[5..6, 8..10]));
    positions.apply(12, create("d", Start::Id(3), 3));
    let mut restored = Positions::default();
    snapshot::restore(&mut restored, &snapshot::encode(&positions)).unwrap();
    assert_eq!(restored.subscriptions, positions.subscriptions);
    assert_eq!(restored.by_name, positions.by_name);
    assert_eq!(snapshot::encode(&restored), snapshot::encode(&positions));
}

#[test]
fn the_format_is_fixed_and_a_later_one_is_refused() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (entry, golden) in [
        (create("c", Start::Id(5), 5), "020085801c066f72646572730163020500b0ea0105"),
        (
            acquire(3, 1),
            "020185801c0163031030303030303030303030303030303031036e79630e3132372e302e302e313a37313033",
        ),
        (administration::seek(9, 3, 77, 300), "020385801c016309034dac02"),
        (
            administration::update(9, options(Start::Latest), administration::with_deadline(1_000)),
            "020485801c0163090000b0ea010000e807",
        ),
        (administration::delete(9), "020585801c016309"),
        (commit(9, 0, 1, &[5..7, 9..300]), "020285801c016309000102050709ac02"),
    ] {
        assert_eq!(hex(&entry.encode()), golden);
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
    assert_eq!(
        hex(&snapshot::encode(&dispatched())),
        concat!(
            "020185801c066f72646572730163090000b0ea01000500011030303030303030303030303030303031",
            "036e79630e3132372e302e302e313a37313033010000"
        )
    );
    let answer = Answer::Existing(Box::new(found(&dispatched()).clone()));
    assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    assert_eq!(Entry::decode(&[1, 0]), Err(Unreadable::Version(1)));
    assert!(matches!(Entry::decode(&[2, 99]), Err(Unreadable::Malformed(_))));
}
