//! Consume, with dispatchers that are here, elsewhere, moved, or gone.

use super::modes::{ack, options};
use super::world::Consumer;
use super::*;

fn start() -> v1::ConsumeStart {
    let (topic, consumer, client_id) = ("t".to_owned(), "c".to_owned(), "worker".to_owned());
    v1::ConsumeStart { topic, consumer, client_id, ..v1::ConsumeStart::default() }
}

impl Consumer {
    /// The next deliveries; whatever else comes before is passed over.
    async fn deliveries(&mut self) -> Vec<v1::Delivery> {
        loop {
            let response = self.response().await;
            if !response.deliveries.is_empty() {
                return response.deliveries;
            }
        }
    }

    async fn response(&mut self) -> v1::ConsumeResponse {
        let next = tokio::time::timeout(Duration::from_secs(20), self.receiver.next()).await;
        next.expect("in time").expect("no error").expect("the stream goes on")
    }

    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.receiver.next().await.map(|response| response.expect("not ended")) {
                return status;
            }
        }
    }

    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(1), self.receiver.next()).await.is_err()
    }

    async fn say(&self, request: v1::ConsumeRequest) {
        self.sender.send(&request).await.unwrap();
    }

    async fn credit(&self, messages: u32) {
        self.say(v1::ConsumeRequest { credit_messages: messages, ..Default::default() }).await;
    }

    async fn ack(&self, acks: Vec<bytes::Bytes>) {
        self.say(v1::ConsumeRequest { acks, ..Default::default() }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_come_as_far_as_there_is_credit_and_acks_are_told_when_they_are_committed() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    let mut consumer = world.consume("nyc", start(), 3).await;
    assert!(consumer.is_silent().await);
    world.push("t", 10);
    let first = consumer.deliveries().await;
    assert_eq!(ids(&first), [1, 2, 3]);
    assert!(consumer.is_silent().await, "no credit is left");
    consumer.ack(tokens(&first)).await;
    assert_eq!(consumer.response().await.acked, tokens(&first));
    consumer.credit(100).await;
    assert_eq!(ids(&consumer.deliveries().await), (4..=10).collect::<Vec<_>>());
    world.push("t", 1);
    assert_eq!(ids(&consumer.deliveries().await), [11]);
    assert_eq!(world.describe("sea").await.unwrap().0.position, 3);
}

#[tokio::test(start_paused = true)]
async fn two_clients_share_the_keys_and_one_that_vanishes_leaves_its_own_to_the_other() {
    let world = World::new().await;
    world.subscribe_with("nyc", "t", "c", options(v1::AckMode::Explicit)).await.unwrap();
    world.push_keys("t", &["a", "b", "a", "b", "a", ""]);
    let mut one = world.consume("nyc", start(), 1).await;
    assert_eq!(ids(&one.deliveries().await), [1]);
    let mut other = world.consume("sea", start(), 100).await;
    let got = other.deliveries().await;
    assert_eq!(ids(&got), [2, 4, 6], "a is with the first");
    other.ack(tokens(&got)).await;
    assert!(other.response().await.errors.is_empty());
    one.credit(1).await;
    let third = one.deliveries().await;
    assert_eq!(ids(&third), [3], "in order, to the same");
    assert!(other.is_silent().await);
    drop(one);
    let rest = other.deliveries().await;
    assert_eq!(ids(&rest), [1, 3, 5], "at once, and not only at the ack deadline");
    let late = ack(&world, "nyc", &tokens(&third)).await.unwrap_err();
    assert_eq!(reason_of(&late).1, reason::DELIVERY_EXPIRED, "two never both get OK");
    other.ack(tokens(&rest)).await;
    assert_eq!(other.response().await.acked, tokens(&rest));
    assert_eq!(world.describe("sea").await.unwrap().0.position, 6);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_delivery_counts_for_itself_and_wrong_words_are_answered_one_by_one() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 4);
    let mut consumer = world.consume("nyc", start(), 4).await;
    let got = tokens(&consumer.deliveries().await);
    let delay = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let nack =
        |token: &bytes::Bytes, seconds| v1::ConsumeNack { token: token.clone(), delay: delay(seconds) };
    let longer = v1::ConsumeExtension { token: got[2].clone(), deadline: delay(100) };
    consumer
        .say(v1::ConsumeRequest {
            acks: vec![got[0].clone(), b"nonsense".as_slice().into()],
            nacks: vec![nack(&got[1], 5), nack(&got[0], 7_200)],
            extensions: vec![longer],
            credit_messages: 9,
            ..Default::default()
        })
        .await;
    let mut said = v1::ConsumeResponse::default();
    while said.acked.is_empty() || said.errors.len() < 2 {
        let response = consumer.response().await;
        said.acked.extend(response.acked);
        said.errors.extend(response.errors);
    }
    assert_eq!(said.acked, got[..1]);
    let errors: Vec<_> =
        said.errors.iter().map(|error| error.status.as_ref().unwrap().message.as_str()).collect();
    assert!(errors.contains(&"acks[1] is not a delivery token"), "{errors:?}");
    assert!(errors.contains(&"nacks.delay must be 0 s to 3600 s"), "{errors:?}");
    let again = consumer.deliveries().await;
    assert_eq!((ids(&again), again[0].attempt, again[0].nacks), (vec![2], 2, 1), "after its five seconds");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let overdue = consumer.deliveries().await;
    assert_eq!(ids(&overdue), [4], "3 has more time");
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_when_the_dispatch_moves_or_its_dispatcher_dies() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 1);
    world.pop("nyc", "n", Vec::new(), 1, 0).await.unwrap();
    let mut consumer = world.consume("sea", start(), 1_000).await;
    let mut got = Vec::new();
    for _ in 0..12 {
        world.push("t", 1);
        let deliveries = consumer.deliveries().await;
        got.extend(ids(&deliveries));
        consumer.ack(tokens(&deliveries)).await;
    }
    assert_eq!(
        world.describe("mci").await.unwrap().1.dispatching_datacenter,
        "sea",
        "to where it is consumed"
    );
    let far = Side::node("sea-pop-1");
    world.network.cut(&far, &Side::node("nyc-pop-1"));
    world.network.cut(&far, &Side::node("mci-pop-1"));
    // Who cannot reach the dispatcher takes over; the stream follows it.
    world.pop("mci", "m", Vec::new(), 1, 0).await.unwrap();
    world.network.heal_all();
    world.push("t", 3);
    while !got.contains(&16) {
        let deliveries = consumer.deliveries().await;
        got.extend(ids(&deliveries));
        consumer.ack(tokens(&deliveries)).await;
    }
    let first: std::collections::BTreeSet<u64> = got.iter().copied().collect();
    assert!((2..=16).all(|id| first.contains(&id)), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn on_drain_a_stream_ends_cleanly_and_the_next_one_acknowledges_what_the_client_still_has() {
    let mut world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 6);
    world.pop("sea", "s", Vec::new(), 1, 0).await.unwrap();
    let mut consumer = world.consume("nyc", start(), 3).await;
    let has = consumer.deliveries().await;
    assert_eq!(ids(&has), [2, 3, 4]);
    let nyc = world.pops.remove("nyc").unwrap();
    nyc.shutdown.drain();
    assert_eq!(reason_of(&consumer.end().await), (Code::Unavailable, reason::DRAINING.to_owned()));
    nyc.service.drained.await;
    let mut next = world.consume("mci", start(), 100).await;
    assert_eq!(ids(&next.deliveries().await), [5, 6], "what the client has does not come to another");
    next.ack(tokens(&has)).await;
    let answered = next.response().await;
    assert_eq!((answered.acked.len(), answered.errors.len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_says_why() {
    let world = World::new().await;
    let mut nobody = world.consume("nyc", start(), 1).await;
    assert_eq!(reason_of(&nobody.end().await), (Code::FailedPrecondition, reason::NOT_SUBSCRIBED.to_owned()));
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    let share = Some(v1::Share { member: 2, members: 2 });
    let mut wrong = world.consume("nyc", v1::ConsumeStart { share, ..start() }, 1).await;
    assert_eq!(wrong.end().await.message(), "start.share.member is 2, must be below members, 2");
    let nameless = v1::ConsumeStart { topic: String::new(), ..start() };
    let mut nameless = world.consume("nyc", nameless, 1).await;
    assert_eq!(nameless.end().await.message(), "start.topic must not be empty");
    let mut greedy = world.consume("nyc", start(), 100_001).await;
    assert!(greedy.end().await.message().starts_with("credit_messages makes 100001"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_share_gets_its_keys_only() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    let keys: Vec<String> = (0..40).map(|key| key.to_string()).collect();
    world.push_keys("t", &keys.iter().map(String::as_str).collect::<Vec<_>>());
    let mut got = Vec::new();
    for member in 0..2 {
        let share = Some(v1::Share { member, members: 2 });
        let mut consumer = world.consume("nyc", v1::ConsumeStart { share, ..start() }, 100).await;
        let deliveries = consumer.deliveries().await;
        let hash = |delivery: &v1::Delivery| {
            let received = delivery.message.as_ref().unwrap().message.as_ref().unwrap();
            trunkline_types::hash64(received.key.as_bytes()) % 2
        };
        assert!(deliveries.iter().all(|delivery| hash(delivery) == u64::from(member)));
        consumer.ack(tokens(&deliveries)).await;
        consumer.response().await;
        got.extend(ids(&deliveries));
    }
    got.sort_unstable();
    assert_eq!(got, (1..=40).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_keeps_its_own_position_consumes_from_it() {
    let world = World::new().await;
    world.push("t", 10);
    let from = |from| v1::ConsumeStart { consumer: String::new(), from, ..start() };
    let mut reader = world.consume("sea", from(4), 3).await;
    let first = reader.deliveries().await;
    assert_eq!((ids(&first), first[0].token.len()), (vec![4, 5, 6], 0));
    reader.credit(100).await;
    assert_eq!(ids(&reader.deliveries().await), [7, 8, 9, 10]);
    world.push("t", 1);
    assert_eq!(ids(&reader.deliveries().await), [11]);
    reader.ack(vec![bytes::Bytes::from_static(b"x")]).await;
    assert_eq!(reader.end().await.message(), "acks have no meaning without a consumer");
    world.trim("t", 8);
    let mut late = world.consume("sea", from(2), 1).await;
    let response = late.response().await;
    assert_eq!((response.expired[0].from, response.expired[0].to), (2, 8));
    assert_eq!(ids(&response.deliveries), [8]);
}
