//! Messages that nobody can process, on their way to another topic.

use super::modes::options;
use super::*;

fn with_dead_letters() -> v1::SubscriptionOptions {
    let dead_letter = Some(v1::DeadLetter { topic: "dead".to_owned(), attempts: 2 });
    v1::SubscriptionOptions {
        dead_letter,
        ack_deadline: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..options(v1::AckMode::Explicit)
    }
}

/// Delivers message 1 twice in vain.
async fn fail_twice(world: &World, at: &str) {
    for attempt in 1..=2 {
        let given = world.pop(at, "a", Vec::new(), 1, 3_000).await.unwrap();
        assert_eq!((ids(&given), given[0].attempt), (vec![1], attempt));
        tokio::time::sleep(Duration::from_millis(2_100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_its_attempts_a_message_is_in_the_dead_letter_topic_with_the_reason_and_acknowledged() {
    let world = World::new().await;
    world.subscribe_with("nyc", "t", "c", with_dead_letters()).await.unwrap();
    assert_eq!(world.bodies("dead"), [], "the topic was created with the subscription");
    world.push_keys("t", &["k", "k"]);
    fail_twice(&world, "nyc").await;
    assert_eq!(ids(&world.pop("nyc", "a", Vec::new(), 9, 3_000).await.unwrap()), [2]);
    let [letter] = &world.bodies("dead")[..] else { panic!("one message") };
    assert_eq!((&letter.payload[..], letter.key.as_str()), (b"1".as_slice(), "k"));
    let why: Vec<_> = letter.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let why: std::collections::BTreeMap<_, _> = why.into_iter().collect();
    for (name, value) in
        [("reason", "deadline"), ("attempts", "2"), ("topic", "t"), ("message-id", "1"), ("consumer", "c")]
    {
        assert_eq!(why[format!("trunkline-dead-letter-{name}").as_str()], value);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.describe("nyc").await.unwrap().0.position, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_dies_before_it_could_acknowledge_has_moved_it_once_all_the_same() {
    let world = World::new().await;
    world.subscribe_with("nyc", "t", "c", with_dead_letters()).await.unwrap();
    world.push("t", 1);
    fail_twice(&world, "nyc").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.set_quorum(false);
    assert_eq!(ids(&world.pop("nyc", "a", Vec::new(), 9, 1_000).await.unwrap()), []);
    assert_eq!(world.bodies("dead").len(), 1);
    world.pops["nyc"].node.process.crash();
    world.set_quorum(true);
    assert_eq!(world.describe("mci").await.unwrap().0.position, 0, "nobody knows of it");
    assert_eq!(ids(&world.pop("sea", "s", Vec::new(), 9, 1_000).await.unwrap()), []);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let position = world.describe("sea").await.unwrap().0.position;
    assert_eq!((world.bodies("dead").len(), position), (1, 1), "moved by the next, and a duplicate");
}

#[tokio::test(start_paused = true)]
async fn while_it_cannot_be_moved_it_waits_and_holds_up_nothing_else() {
    let world = World::new().await;
    world.subscribe_with("nyc", "t", "c", with_dead_letters()).await.unwrap();
    world.push("t", 2);
    world.refuse_appends(true);
    fail_twice(&world, "nyc").await;
    assert_eq!(ids(&world.pop("nyc", "a", Vec::new(), 9, 3_000).await.unwrap()), [2]);
    assert_eq!(world.describe("nyc").await.unwrap().0.position, 0);
    world.refuse_appends(false);
    let waiting = world.pop("nyc", "b", Vec::new(), 9, 1_500);
    waiting.await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((world.bodies("dead").len(), world.describe("nyc").await.unwrap().0.position), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_topic_is_another_topic_and_has_no_meaning_in_immediate() {
    let world = World::new().await;
    let itself = v1::DeadLetter { topic: "t".to_owned(), attempts: 2 };
    let itself = v1::SubscriptionOptions { dead_letter: Some(itself), ..with_dead_letters() };
    let refused = world.subscribe_with("nyc", "t", "c", itself).await.unwrap_err();
    assert_eq!(refused.message(), "options.dead_letter.topic is the topic itself");
    let once = v1::SubscriptionOptions { ack_mode: v1::AckMode::Immediate.into(), ..with_dead_letters() };
    let refused = world.subscribe_with("nyc", "t", "c", once).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
