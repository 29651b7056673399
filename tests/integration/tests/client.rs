//! The Rust client over gRPC: it goes on through another datacenter while the near one's servers are gone.

use std::time::Duration;

use trunkline_client::{Client, Options, StreamOptions};
use trunkline_integration::connect::rust_client;
use trunkline_integration::{DATACENTERS, Dev, eventually};
use trunkline_wire::v1::{AckLevel, Earliest, Message, Start, SubscriptionOptions, start};

const TOPIC: &str = "roaming";

fn message(text: &str) -> Message {
    Message { payload: text.to_owned().into(), ..Message::default() }
}

/// Pushes until one is stored: what may have been stored the client does not push again by itself.
async fn push(client: &Client, text: &str) -> String {
    let mut attempt = 0;
    eventually(Duration::from_secs(10), "a push to be stored elsewhere", async || {
        attempt += 1;
        let text = format!("{text}, attempt {attempt}");
        client.push_one(TOPIC, message(&text), AckLevel::Local).await.ok().map(|_| text)
    })
    .await
}

#[tokio::test]
async fn a_client_goes_on_through_another_datacenter_while_servers_are_gone() {
    let mut dev = Dev::start("none").await;
    let client = rust_client(dev.clients(), Options::default());
    let earliest = Start { at: Some(start::At::Earliest(Earliest {})) };
    let options = SubscriptionOptions { start: Some(earliest), ..SubscriptionOptions::default() };
    client.subscribe(TOPIC, "reader", options).await.expect("subscribed");
    let mut subscriber = client.subscriber(TOPIC, "reader");
    let mut pushed = Vec::new();
    let mut popped = Vec::new();
    for datacenter in DATACENTERS {
        dev.cli(&["stop", &format!("{datacenter}-push")]);
        dev.cli(&["stop", &format!("{datacenter}-pop")]);
        for number in 0..5 {
            pushed.push(push(&client, &format!("{number} while {datacenter} has no servers")).await);
        }
        while popped.len() < pushed.len() {
            let response = subscriber.pop(100, Duration::from_secs(5)).await.expect("popped elsewhere");
            for received in response.deliveries.into_iter().filter_map(|delivery| delivery.message) {
                let payload = received.message.unwrap_or_default().payload;
                let text = String::from_utf8_lossy(&payload).into_owned();
                // What was handed out before its dispatcher ended may come again.
                if pushed.contains(&text) && !popped.contains(&text) {
                    popped.push(text);
                }
            }
        }
        dev.cli(&["start", &format!("{datacenter}-push")]);
        dev.cli(&["start", &format!("{datacenter}-pop")]);
    }
    subscriber.ack().await.expect("acknowledged");
    popped.sort();
    pushed.sort();
    assert_eq!(popped, pushed);
    dev.stop().await;
}

#[tokio::test]
async fn a_stream_of_the_client_keeps_its_order() {
    let mut dev = Dev::start("none").await;
    let client = rust_client(dev.clients(), Options::default()).only("sea").expect("an endpoint");
    let options = StreamOptions { level: AckLevel::Ordered, ..StreamOptions::default() };
    let stream = client.push_stream(TOPIC, options);
    let mut pending = Vec::new();
    for number in 0..2_000 {
        pending.push(stream.send(message(&number.to_string())).await.expect("taken"));
    }
    for (number, pending) in (1..).zip(pending) {
        let pushed = pending.outcome().await.unwrap_or_else(|failure| panic!("{}", failure.status));
        assert_eq!(pushed.message_id, Some(number));
    }
    dev.stop().await;
}
