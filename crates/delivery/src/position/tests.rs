use trunkline_types::limits::DELIVERY_COUNTS_MAX;
use trunkline_types::{Generation, NodeId};

use super::*;

const TOPIC: TopicId = TopicId(7 << 16 | 5);

fn consumer(name: &str) -> ConsumerName {
    ConsumerName::new(name).unwrap()
}

fn options(start: Start) -> Options {
    Options {
        start,
        ack_mode: AckMode::OnNextPop,
        ack_deadline_ms: 30_000,
        retry: Retry::default(),
        dead_letter: None,
    }
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
        counts: BTreeMap::new(),
        given_back: IntervalSet::new(),
    })
}

fn commit_counts(counts: &[(u64, u32, u32)], acknowledged: &[std::ops::Range<u64>]) -> Entry {
    let Entry::Commit(commit) = commit(9, 0, 1, acknowledged) else { unreachable!() };
    let counts = counts.iter().map(|&(id, deliveries, nacks)| (id, Counts { deliveries, nacks }));
    Entry::Commit(Commit { counts: counts.collect(), ..commit })
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
fn counts_are_replaced_by_newer_ones_and_kept_until_their_message_is_acknowledged() {
    let mut positions = dispatched();
    positions.apply(11, commit_counts(&[(6, 1, 1), (7, 1, 0)], &[]));
    positions.apply(12, commit_counts(&[(6, 2, 1), (3, 1, 0), (8, 1, 0)], &[8..9]));
    let known: Vec<_> =
        found(&positions).counts.iter().map(|(&id, counts)| (id, counts.deliveries)).collect();
    assert_eq!(known, [(6, 2), (7, 1)], "neither of what is acknowledged nor of what is below the start");
    positions.apply(13, acquire(1, 2));
    assert!(matches!(positions.apply(14, commit_counts(&[(6, 9, 9)], &[])), Answer::Refused(_)));
    assert_eq!(found(&positions).counts[&6], Counts { deliveries: 2, nacks: 1 });
    let most = DELIVERY_COUNTS_MAX as u64;
    let all: Vec<_> = (0..=most).map(|id| (100 + id, 1, 0)).collect();
    let mut positions = dispatched();
    positions.apply(11, commit_counts(&all, &[]));
    let counts = &found(&positions).counts;
    assert_eq!((counts.len(), counts.first_key_value().unwrap().0), (DELIVERY_COUNTS_MAX, &100));
}

#[test]
fn what_was_reserved_and_not_handed_out_is_given_back_under_the_present_token_only() {
    let mut positions = dispatched();
    positions.apply(11, commit(9, 0, 1, &[5..10]));
    let Entry::Commit(last) = commit(9, 0, 1, &[10..12]) else { unreachable!() };
    let last = Commit { given_back: [7..9, 11..12].into_iter().collect(), ..last };
    assert_eq!(positions.apply(12, Entry::Commit(last.clone())), Answer::Committed);
    let known: Vec<_> = found(&positions).acknowledged.iter().collect();
    assert_eq!((known, found(&positions).position()), (vec![5..7, 9..11], 6));
    positions.apply(13, acquire(1, 2));
    positions.apply(14, commit(9, 0, 2, &[7..9]));
    assert!(matches!(positions.apply(15, Entry::Commit(last)), Answer::Refused(_)), "it comes too late");
    assert_eq!(found(&positions).position(), 10);
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
        (create("c", Start::Id(5), 5), "020085801c066f72646572730163020500b0ea0100000005"),
        (
            acquire(3, 1),
            "020185801c0163031030303030303030303030303030303031036e79630e3132372e302e302e313a37313033",
        ),
        (commit(9, 0, 1, &[5..7, 9..300]), "020285801c016309000102050709ac020000"),
        (commit_counts(&[(6, 2, 1)], &[5..6]), "020285801c01630900010105060106020100"),
    ] {
        assert_eq!(hex(&entry.encode()), golden);
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
    assert_eq!(
        hex(&snapshot::encode(&dispatched())),
        concat!(
            "020185801c066f72646572730163090000b0ea010000000005000110303030303030303030303030303030",
            "31036e79630e3132372e302e302e313a373130330100"
        )
    );
    let answer = Answer::Existing(Box::new(found(&dispatched()).clone()));
    assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    assert_eq!(Entry::decode(&[3, 0]), Err(Unreadable::Version(3)));
    assert!(matches!(Entry::decode(&[2, 9]), Err(Unreadable::Malformed(_))));
}

#[test]
fn the_lowest_position_of_a_topic_is_that_of_its_slowest_subscription() {
    let mut positions = dispatched();
    positions.apply(11, create("d", Start::Latest, 3));
    assert_eq!(positions.lowest_position(TOPIC), Some(2));
    positions.apply(12, commit(9, 0, 1, &[5..20]));
    assert_eq!(positions.lowest_position(TOPIC), Some(2));
    for other in [TopicId(TOPIC.0 - 1), TopicId(TOPIC.0 + 1)] {
        assert_eq!(positions.lowest_position(other), None);
    }
}

#[test]
fn subscriptions_end_with_their_topic_and_no_others_do() {
    let mut positions = dispatched();
    positions.apply(11, create("d", Start::Latest, 3));
    let Entry::Create(of_another) = create("d", Start::Latest, 3) else { panic!("a creation") };
    let another = TopicId(TOPIC.0 + (1 << 16));
    positions.apply(12, Entry::Create(Create { topic_id: another, ..of_another }));
    assert_eq!(positions.topics(TopicId(0)).collect::<Vec<_>>(), [TOPIC, another]);
    assert_eq!(positions.topics(TOPIC).collect::<Vec<_>>(), [another]);
    assert_eq!(positions.apply(13, Entry::TopicDeleted(TOPIC)), Answer::Ended(2));
    assert_eq!(positions.apply(14, Entry::TopicDeleted(TOPIC)), Answer::Ended(0));
    assert_eq!(positions.apply(15, commit(9, 0, 1, &[5..6])), Answer::NotFound);
    assert_eq!((positions.len(), positions.page(None, None, None, 9).subscriptions.len()), (1, 1));
}
