//! Positions on a real cluster: replay beside others, by time, and what stays of what was deleted.

use std::time::Duration;

use serde_json::Value;
use trunkline_client::Options;
use trunkline_integration::connect::rust_client;
use trunkline_integration::{DATACENTERS, Dev, eventually};
use trunkline_runtime::OsProcess;
use trunkline_wire::status::{reason, reason_of};
use trunkline_wire::v1::{AckLevel, Earliest, Message, Start, SubscriptionOptions, start};

const TOPIC: &str = "orders";

fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn ids(text: &str) -> Vec<u64> {
    rows(text).iter().map(|row| row["message_id"].as_u64().expect("an ID")).collect()
}

/// Its ID, once it can be read in every datacenter.
async fn push(dev: &Dev, datacenter: &str, text: &str) -> u64 {
    let pushed = dev.cli(&["push", TOPIC, text, "--dc", datacenter, "--ack", "ordered", "--json"]);
    let id = rows(&pushed)[0]["message_id"].as_u64().expect("it is ordered");
    for datacenter in DATACENTERS {
        eventually(Duration::from_secs(20), "the message to be readable", async || {
            let topic =
                rows(&dev.cli(&["topics", "describe", TOPIC, "--dc", datacenter, "--json"])).remove(0);
            (topic["watermark"].as_u64() >= Some(id)).then_some(())
        })
        .await;
    }
    id
}

/// Everything that is left for a consumer, acknowledged.
fn pop(dev: &Dev, consumer: &str, datacenter: &str) -> Vec<u64> {
    ids(&dev.cli(&["pop", TOPIC, consumer, "--max", "1000", "--wait", "2s", "--dc", datacenter, "--json"]))
}

fn describe(dev: &Dev, consumer: &str) -> Value {
    rows(&dev.cli(&["subscriptions", "describe", TOPIC, consumer, "--json"])).remove(0)
}

#[tokio::test]
async fn one_consumer_goes_back_while_another_goes_on() {
    let mut dev = Dev::start("none").await;
    for consumer in ["audit", "billing"] {
        dev.cli(&["subscribe", TOPIC, consumer, "--from", "earliest"]);
    }
    let mut numbers = Vec::new();
    for (number, datacenter) in DATACENTERS.into_iter().cycle().take(6).enumerate() {
        numbers.push(push(&dev, datacenter, &number.to_string()).await);
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(pop(&dev, "audit", "nyc"), numbers);
    assert_eq!(pop(&dev, "billing", "sea"), numbers);
    assert_eq!(
        rows(&dev.cli(&["seek", TOPIC, "audit", "--to", "3", "--dc", "mci", "--json"]))[0]["position"],
        2
    );
    let detail = describe(&dev, "audit");
    assert_eq!(
        (&detail["position"], &detail["lag_messages"], &detail["generation"]),
        (&2.into(), &4.into(), &1.into())
    );
    assert_eq!(ids(&dev.cli(&["oldest", TOPIC, "audit", "--json"])), [3]);
    assert!(detail["lag_seconds"].as_f64().is_some_and(|lag| lag > 0.0 && lag < 300.0), "{detail}");
    assert_eq!(pop(&dev, "audit", "sea"), [3, 4, 5, 6]);
    assert_eq!(pop(&dev, "billing", "nyc"), [], "the other has not noticed");
    by_time(&dev).await;
    dev.cli(&["subscriptions", "update", TOPIC, "billing", "--ack-deadline", "1s"]);
    push(&dev, "nyc", "comes again").await;
    let left = ids(&dev.cli(&["pop", TOPIC, "billing", "--no-ack", "--wait", "5s", "--json"]));
    let again = ids(&dev.cli(&["pop", TOPIC, "billing", "--wait", "9s", "--json"]));
    assert_eq!(left, again, "after the new ack deadline, not after 30 s");
    dev.cli(&["subscriptions", "delete", TOPIC, "billing"]);
    dev.cli(&["subscriptions", "delete", TOPIC, "billing"]);
    let gone = dev.run(&["pop", TOPIC, "billing"]);
    assert!(
        !gone.status.success() && String::from_utf8_lossy(&gone.stderr).contains("is not subscribed"),
        "{gone:?}"
    );
    dev.cli(&["subscribe", TOPIC, "billing", "--from", "7"]);
    assert_eq!(pop(&dev, "billing", "mci"), describe_upto(&dev, 7));
    dev.stop().await;
}

/// IDs from `first` to what can be read.
fn describe_upto(dev: &Dev, first: u64) -> Vec<u64> {
    let topic = rows(&dev.cli(&["topics", "describe", TOPIC, "--json"])).remove(0);
    (first..=topic["watermark"].as_u64().expect("a watermark")).collect()
}

/// The clocks of all voters are this machine's: what was pushed before a moment was ordered before it, too.
async fn by_time(dev: &Dev) {
    let process = OsProcess::new(|why| panic!("{why}")).process();
    let before = push(dev, "sea", "before").await;
    let moment = process.wall_clock_ms();
    // Order time goes in steps, so what comes soon may still have been ordered then.
    eventually(Duration::from_secs(30), "time to pass", async || {
        (process.wall_clock_ms() > moment + 1_500).then_some(())
    })
    .await;
    let after = push(dev, "mci", "after").await;
    assert_eq!(after, before + 1);
    let at = std::time::UNIX_EPOCH + Duration::from_millis(moment + 750);
    let time = humantime::format_rfc3339_millis(at).to_string();
    let first = |datacenter: &str| {
        ids(&dev.cli(&["tail", TOPIC, "--from", &time, "--max", "1", "--dc", datacenter, "--json"]))
    };
    assert_eq!([first("nyc"), first("sea")], [[after], [after]]);
    for (to, position) in [(time.as_str(), before), ("2000-01-01", 0), ("2999-01-01", after)] {
        dev.cli(&["seek", TOPIC, "audit", "--to", to]);
        assert_eq!(describe(dev, "audit")["position"], position, "{to}");
    }
}

#[tokio::test]
async fn a_subscriber_goes_on_when_its_topic_was_deleted_and_created_again() {
    let mut dev = Dev::start("none").await;
    let client = rust_client(dev.clients(), Options::default());
    let message = |text: &str| Message { payload: text.to_owned().into(), ..Message::default() };
    let earliest = || {
        let start = Some(Start { at: Some(start::At::Earliest(Earliest {})) });
        SubscriptionOptions { start, ..SubscriptionOptions::default() }
    };
    client.subscribe(TOPIC, "reader", earliest()).await.expect("subscribed");
    client.push_one(TOPIC, message("old"), AckLevel::Ordered).await.expect("pushed");
    let mut subscriber = client.subscriber(TOPIC, "reader");
    let old = subscriber.pop(1, Duration::from_secs(10)).await.expect("popped");
    assert_eq!(old.deliveries.len(), 1);
    client.delete_topic(TOPIC).await.expect("deleted");
    client.create_topic(TOPIC, Default::default()).await.expect("created");
    let gone = eventually(Duration::from_secs(20), "the subscription to be gone", async || {
        subscriber.pop(1, Duration::ZERO).await.err()
    })
    .await;
    assert_eq!(reason_of(&gone).as_deref(), Some(reason::NOT_SUBSCRIBED), "{gone}");
    client.subscribe(TOPIC, "reader", earliest()).await.expect("subscribed to the new one");
    client.push_one(TOPIC, message("new"), AckLevel::Ordered).await.expect("pushed");
    let new = eventually(Duration::from_secs(20), "the new topic's message", async || {
        let popped = subscriber.pop(1, Duration::from_secs(1)).await.ok()?;
        popped.deliveries.into_iter().next()
    })
    .await;
    let received = new.message.unwrap_or_default();
    assert_eq!((received.message_id, &received.message.unwrap_or_default().payload[..]), (1, &b"new"[..]));
    subscriber.ack().await.expect("acknowledged");
    dev.stop().await;
}
