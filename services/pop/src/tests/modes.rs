//! EXPLICIT and IMMEDIATE, as clients see them.

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn options(mode: v1::AckMode) -> v1::SubscriptionOptions {
    let start = Some(v1::Start { at: Some(EARLIEST) });
    v1::SubscriptionOptions { start, ack_mode: mode.into(), ..v1::SubscriptionOptions::default() }
}

pub(super) async fn ack(world: &World, at: &str, tokens: &[bytes::Bytes]) -> Result<(), Status> {
    let (topic, consumer) = ("t".to_owned(), "c".to_owned());
    let request = v1::AckRequest { topic, consumer, tokens: tokens.to_vec() };
    world.call(at, pop_service::ACK, &request, PATIENCE).await.map(drop)
}

async fn nack(world: &World, at: &str, tokens: &[bytes::Bytes], seconds: i64) -> Result<(), Status> {
    let (topic, consumer) = ("t".to_owned(), "c".to_owned());
    let delay = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = v1::NackRequest { topic, consumer, tokens: tokens.to_vec(), delay };
    world.call(at, pop_service::NACK, &request, PATIENCE).await.map(drop)
}

async fn extend(world: &World, at: &str, tokens: &[bytes::Bytes], seconds: i64) -> Result<(), Status> {
    let (topic, consumer) = ("t".to_owned(), "c".to_owned());
    let deadline = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = v1::ExtendDeadlineRequest { topic, consumer, tokens: tokens.to_vec(), deadline };
    world.call(at, pop_service::EXTEND_DEADLINE, &request, PATIENCE).await.map(drop)
}

fn attempts(deliveries: &[v1::Delivery]) -> Vec<(u32, u32)> {
    deliveries.iter().map(|delivery| (delivery.attempt, delivery.nacks)).collect()
}

#[tokio::test(start_paused = true)]
async fn explicit_deliveries_are_given_back_kept_longer_and_acknowledged_from_anywhere() {
    let world = World::new().await;
    world.subscribe_with("nyc", "t", "c", options(v1::AckMode::Explicit)).await.unwrap();
    world.push("t", 4);
    let given = world.pop("nyc", "a", Vec::new(), 3, 0).await.unwrap();
    let given = tokens(&given);
    nack(&world, "sea", &given[..1], 10).await.unwrap();
    extend(&world, "sea", &given[1..2], 60).await.unwrap();
    ack(&world, "sea", &given[2..]).await.unwrap();
    assert_eq!(ids(&world.pop("nyc", "b", Vec::new(), 9, 0).await.unwrap()), [4]);
    tokio::time::sleep(Duration::from_secs(31)).await;
    let again = world.pop("nyc", "b", Vec::new(), 9, 0).await.unwrap();
    assert_eq!((ids(&again), attempts(&again)), (vec![1, 4], vec![(2, 1), (2, 0)]));
    let refused = ack(&world, "sea", &given).await.unwrap_err();
    assert_eq!(reason_of(&refused), (Code::FailedPrecondition, reason::DELIVERY_EXPIRED.to_owned()));
    assert_eq!(status::metadata_of(&refused, "expired").as_deref(), Some("0"), "the others count");
    assert_eq!(world.describe("nyc").await.unwrap().1.outstanding, 2);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_on_by_the_next_dispatcher() {
    let world = World::new().await;
    world.subscribe_with("nyc", "t", "c", options(v1::AckMode::Explicit)).await.unwrap();
    world.push("t", 2);
    let given = tokens(&world.pop("nyc", "a", Vec::new(), 2, 0).await.unwrap());
    nack(&world, "nyc", &given[..1], 0).await.unwrap();
    let again = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap();
    assert_eq!(attempts(&again), [(2, 1)]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.pops["nyc"].node.process.crash();
    let after = world.pop("sea", "s", Vec::new(), 9, 0).await.unwrap();
    assert_eq!((ids(&after), attempts(&after)), (vec![1, 2], vec![(2, 1), (1, 0)]), "what was told of");
    ack(&world, "sea", &tokens(&after)).await.unwrap();
    let refused = ack(&world, "sea", &given).await.unwrap_err();
    assert_eq!(status::metadata_of(&refused, "expired").as_deref(), Some("0,1"));
}

#[tokio::test(start_paused = true)]
async fn immediate_is_committed_before_it_leaves_and_comes_at_most_once() {
    let world = World::new().await;
    world.subscribe_with("nyc", "t", "c", options(v1::AckMode::Immediate)).await.unwrap();
    world.push("t", 1_000);
    let mut got = ids(&world.pop("nyc", "a", Vec::new(), 10, 0).await.unwrap());
    assert_eq!(got, (1..=10).collect::<Vec<_>>());
    for _ in 0..8 {
        got.extend(ids(&world.pop("sea", "s", Vec::new(), 10, 0).await.unwrap()));
    }
    assert_eq!(world.describe("mci").await.unwrap().1.dispatching_datacenter, "sea", "moved");
    assert_eq!(got, (1..=90).collect::<Vec<_>>(), "what was reserved was given back");
    world.set_quorum(false);
    let refused = loop {
        match world.pop("sea", "s", Vec::new(), 100, 0).await {
            Ok(deliveries) => got.extend(ids(&deliveries)),
            Err(error) => break error,
        }
    };
    assert_eq!(reason_of(&refused), (Code::Unavailable, reason::NO_QUORUM.to_owned()));
    world.set_quorum(true);
    world.pops["sea"].node.process.crash();
    while got.last() < Some(&1_000) {
        got.extend(ids(&world.pop("nyc", "n", Vec::new(), 100, 0).await.unwrap()));
    }
    assert!(got.is_sorted_by(|a, b| a < b), "each once, in order");
    assert!(got.len() >= 500, "{}: a dispatcher that dies takes a batch with it, no more", got.len());
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_leaves_its_place_at_once() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", LATEST).await.unwrap();
    let nameless = |wait: u64| v1::PopRequest {
        topic: "t".to_owned(),
        consumer: "c".to_owned(),
        client_id: format!("client {wait}"),
        wait: Some(prost_types::Duration { seconds: 50, nanos: 0 }),
        ..v1::PopRequest::default()
    };
    let requests: Vec<_> = (0..WAITING_POPS_MAX as u64).map(nameless).collect();
    let patience = Duration::from_secs(60);
    let pops = requests.iter().map(|request| world.call("nyc", pop_service::POP, request, patience));
    let mut waiting = Box::pin(futures::future::join_all(pops));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err(), "all wait");
    let refused = world.pop("nyc", "one more", Vec::new(), 1, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let reads = world.reads();
    drop(waiting);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.reads() <= reads + 1, "nobody waits, so nothing is read for anybody");
    assert_eq!(ids(&world.pop("nyc", "one more", Vec::new(), 1, 0).await.unwrap()), []);
}

#[tokio::test(start_paused = true)]
async fn an_expired_range_is_told_until_it_is_acknowledged_also_by_the_next_dispatcher() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 9);
    world.trim("t", 6);
    let pop = async |at: &str, previous: Vec<bytes::Bytes>| {
        let request = v1::PopRequest {
            topic: "t".to_owned(),
            consumer: "c".to_owned(),
            client_id: "a".to_owned(),
            previous,
            max_messages: 2,
            ..v1::PopRequest::default()
        };
        world.call(at, pop_service::POP, &request, PATIENCE).await.unwrap()
    };
    let range = |response: &v1::PopResponse| {
        response.expired.iter().map(|range| (range.from, range.to)).collect::<Vec<_>>()
    };
    let first = pop("nyc", Vec::new()).await;
    assert_eq!((range(&first), ids(&first.deliveries)), (vec![(1, 6)], vec![6, 7]));
    let again = pop("nyc", tokens(&first.deliveries)).await;
    assert_eq!((range(&again), ids(&again.deliveries)), (vec![(1, 6)], vec![8, 9]), "it was not echoed");
    assert_eq!(world.describe("nyc").await.unwrap().0.position, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.pops["nyc"].node.process.crash();
    let elsewhere = pop("sea", vec![again.expired[0].token.clone()]).await;
    assert_eq!((range(&elsewhere), ids(&elsewhere.deliveries)), (vec![], vec![8, 9]));
    assert_eq!(world.describe("sea").await.unwrap().0.position, 7);
}
