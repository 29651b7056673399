//! A message that is pushed again through another datacenter counts once, also where the first push comes back from a
//! datacenter that was cut off.

use std::time::Duration;

use serde_json::Value;
use trunkline_integration::{Client, DATACENTERS, Dev, eventually};
use trunkline_wire::v1::{AckLevel, GetReceiptResponse, ReceiptState};

const TOPIC: &str = "payments";
const LONG: Duration = Duration::from_secs(30);

/// Pushes by the command line; what it printed.
fn push(dev: &Dev, datacenter: &str, ack: &str, sequence: u64, text: &str) -> Value {
    let (sequence, dc) = (sequence.to_string(), ["--dc", datacenter]);
    let named = ["push", TOPIC, text, "--producer", "p", "--sequence", &sequence, "--ack", ack, "--json"];
    let printed = dev.cli(&[&named[..], &dc].concat());
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

fn receipt(pushed: &Value) -> &str {
    pushed["receipt"].as_str().expect("it is stored")
}

/// What becomes of a receipt, once it has an ID or is a duplicate.
async fn resolved(at: &Client, receipt: &str) -> GetReceiptResponse {
    eventually(LONG, "a receipt to be resolved", async || {
        let answer = at.receipt(receipt).await.ok()?;
        (answer.message_id > 0).then_some(answer)
    })
    .await
}

/// All that a consumer pops, in order, until it has the message that was pushed last.
async fn popped(at: &Client, consumer: &str, last: &str) -> Vec<String> {
    let (mut popped, mut previous) = (Vec::new(), Vec::new());
    while popped.last().is_none_or(|text| text != last) {
        let response = at.pop(TOPIC, consumer, previous).await.expect("popped");
        previous = response.deliveries.iter().map(|delivery| delivery.token.clone()).collect();
        for message in response.deliveries.into_iter().filter_map(|one| one.message?.message) {
            popped.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
    }
    popped
}

#[tokio::test]
async fn a_push_and_its_repetition_elsewhere_during_an_outage_are_one_message() {
    let mut dev = Dev::start("none").await;
    eventually(LONG, "a first message", async || {
        dev.at("nyc").push(TOPIC, "first", AckLevel::Everywhere, LONG).await.ok()
    })
    .await;
    for datacenter in DATACENTERS {
        dev.cli(&["subscribe", TOPIC, datacenter, "--from", "earliest", "--dc", datacenter]);
    }
    dev.cli(&["cut", "nyc"]);
    let stranded = push(&dev, "nyc", "local", 1, "one, at nyc");
    let again = eventually(LONG, "the other two datacenters to order", async || {
        let args = ["push", TOPIC, "one, at sea", "--producer", "p", "--sequence", "1", "--ack", "ordered"];
        let output = dev.run(&[&args[..], &["--dc", "sea", "--json"]].concat());
        serde_json::from_slice::<Value>(&output.stdout).ok().filter(|pushed| pushed["message_id"].is_u64())
    })
    .await;
    let third = push(&dev, "mci", "ordered", 3, "three");
    let second = push(&dev, "sea", "ordered", 2, "two");
    assert!(second["message_id"].as_u64() > third["message_id"].as_u64() && second["duplicate"].is_null());
    dev.cli(&["heal", "nyc"]);
    let id = again["message_id"].as_u64().expect("it is ordered");
    for datacenter in DATACENTERS {
        let first = resolved(dev.at(datacenter), receipt(&again)).await;
        let other = resolved(dev.at(datacenter), receipt(&stranded)).await;
        assert_eq!((first.message_id, other.message_id), (id, id), "{datacenter}");
        assert_eq!(other.state(), ReceiptState::Duplicate, "{datacenter}");
    }
    let third_time = push(&dev, "nyc", "everywhere", 1, "one, at nyc once more");
    assert_eq!(
        (third_time["message_id"].as_u64(), third_time["duplicate"].as_bool()),
        (Some(id), Some(true))
    );
    let printed = dev.cli(&["push", TOPIC, "two", "--producer", "p", "--sequence", "2", "--ack", "ordered"]);
    assert!(printed.contains("a duplicate"), "{printed}");
    push(&dev, "nyc", "ordered", 4, "last");
    for datacenter in DATACENTERS {
        let all = popped(dev.at(datacenter), datacenter, "last").await;
        assert_eq!(all, ["first", "one, at sea", "three", "two", "last"], "{datacenter}");
    }
    dev.stop().await;
}
