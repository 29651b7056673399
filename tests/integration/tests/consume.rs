//! Consume over gRPC: two clients in two datacenters share the keys of one subscription, one server goes, a poisoned
//! message ends in the dead letter topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::timeout;
use trunkline_client::{ConsumeOptions, Consumer, Delivery, Event, Options};
use trunkline_integration::Dev;
use trunkline_integration::connect::rust_client;
use trunkline_wire::v1::{
    AckLevel, AckMode, DeadLetter, Earliest, Message, Start, SubscriptionOptions, start,
};

const TOPIC: &str = "orders";
const PATIENCE: Duration = Duration::from_secs(30);
const KEYS: u64 = 20;
const MESSAGES: u64 = 400;
const POISON: &str = "poison";

fn options() -> SubscriptionOptions {
    SubscriptionOptions {
        start: Some(Start { at: Some(start::At::Earliest(Earliest {})) }),
        ack_mode: AckMode::Explicit.into(),
        dead_letter: Some(DeadLetter { topic: "orders-dead".to_owned(), attempts: 3 }),
        ..SubscriptionOptions::default()
    }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message().payload).into_owned()
}

async fn next(consumer: &mut Consumer) -> Option<Delivery> {
    match timeout(PATIENCE, consumer.next()).await.expect("in time")?.expect("no error") {
        Event::Message(delivery) => Some(delivery),
        Event::Expired { .. } => panic!("nothing expires here"),
    }
}

/// Works until all is done: what each client has acknowledged, in the order in which it got it.
async fn work(
    mut consumers: [Consumer; 2],
    dev: &Dev,
    mut done: BTreeSet<String>,
) -> (Vec<(usize, String, u64)>, u64) {
    let (mut got, mut nacks) = (Vec::new(), 0);
    let [one, other] = &mut consumers;
    let mut stopped = false;
    while done.len() < usize::try_from(MESSAGES).expect("few") {
        let (client, delivery) = tokio::select! {
            delivery = next(one) => (0, delivery),
            delivery = next(other) => (1, delivery),
        };
        let delivery = delivery.expect("it goes on");
        if text(&delivery) == POISON {
            nacks += 1;
            delivery.nack();
            continue;
        }
        got.push((client, delivery.message().key.clone(), delivery.id()));
        done.insert(text(&delivery));
        drop(delivery.ack());
        if done.len() == 150 && !stopped {
            stopped = true;
            dev.cli(&["stop", "sea-pop"]);
        }
    }
    (got, nacks)
}

#[tokio::test]
async fn two_clients_share_the_keys_of_a_subscription_while_a_server_goes_and_poison_ends_elsewhere() {
    let mut dev = Dev::start("none").await;
    let client = rust_client(dev.clients(), Options::default());
    client.subscribe(TOPIC, "workers", options()).await.expect("subscribed");
    let (nyc, sea) = (client.only("nyc").expect("an endpoint"), client.clone());
    let few = ConsumeOptions { messages_max: 10, ..ConsumeOptions::default() };
    let consumers = [nyc.consume(TOPIC, "workers", few), sea.consume(TOPIC, "workers", few)];
    for number in 0..MESSAGES {
        let (payload, key) = (number.to_string().into(), format!("key {}", number % KEYS));
        let message = Message { payload, key, ..Message::default() };
        client.push_one(TOPIC, message, AckLevel::Local).await.expect("pushed");
        if number == 100 {
            let message = Message { payload: POISON.into(), ..Message::default() };
            client.push_one(TOPIC, message, AckLevel::Local).await.expect("pushed");
        }
    }
    let (got, nacks) = work(consumers, &dev, BTreeSet::new()).await;
    assert!(nacks >= 3, "{nacks}");
    // First deliveries of a key are in order, whoever got them.
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (_, key, id) in got.iter().filter(|(_, _, id)| seen.insert(*id)) {
        let before = last.insert(key, *id);
        assert!(before < Some(*id), "{key}: {id} after {before:?}");
    }
    let by_both: BTreeSet<usize> = got.iter().map(|(client, _, _)| *client).collect();
    assert_eq!(by_both.len(), 2, "both had some");
    let dead = dev.cli(&["tail", "orders-dead", "--from", "earliest", "--max", "1", "--json"]);
    let dead: serde_json::Value = serde_json::from_str(dead.trim()).expect("one object");
    let why = |name: &str| dead["attributes"][format!("trunkline-dead-letter-{name}")].clone();
    assert_eq!(
        (&dead["payload"], why("reason"), why("attempts")),
        (&POISON.into(), "nack".into(), "3".into())
    );
    dev.cli(&["start", "sea-pop"]);
    dev.stop().await;
}

#[tokio::test]
async fn the_command_line_consumes_and_acknowledges_what_it_printed() {
    let mut dev = Dev::start("none").await;
    dev.cli(&["subscribe", "lines", "reader", "--ack-mode", "explicit", "--from", "earliest"]);
    for number in 0..5 {
        dev.cli(&["push", "lines", &number.to_string(), "--ack", "ordered"]);
    }
    let printed = dev.cli(&["consume", "lines", "reader", "--max", "3", "--json"]);
    assert_eq!(printed.lines().count(), 3);
    let described = dev.cli(&["subscriptions", "describe", "lines", "reader", "--json"]);
    let described: serde_json::Value = serde_json::from_str(described.trim()).expect("one object");
    assert_eq!(described["position"], 3);
    let rest = dev.cli(&["pop", "lines", "reader", "--max", "5", "--wait", "10s", "--json"]);
    assert_eq!(rest.lines().count(), 2, "{rest}");
    dev.stop().await;
}
