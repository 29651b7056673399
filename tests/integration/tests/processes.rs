//! Every role as a process of its own, killed and started again under load.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_client::Options;
use trunkline_integration::connect::{load, rust_client};
use trunkline_integration::{Client, DATACENTERS, Processes, eventually};
use trunkline_wire::Code;
use trunkline_wire::status::is_not_stored;
use trunkline_wire::v1::{AckLevel, Message, ReceiptState};

const WAIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn any_process_may_be_killed_under_load_and_nothing_acknowledged_is_lost() {
    let mut cluster = Processes::start().await;
    let load = load("kills", cluster.clients()).await;
    load.wait_for_acks(100).await;
    let victims = [
        "nyc-store-1",
        "mci-store-2",
        "nyc-message-id",
        "mci-subscription-position",
        "sea-push",
        "nyc-pop",
        "sea-message-id",
        "nyc-subscription-position",
    ];
    for victim in victims {
        eprintln!("kill -9 {victim}");
        cluster.kill(victim);
        load.wait_for_acks(100).await;
        load.wait_for_pops(100).await;
        cluster.begin(victim);
        cluster.wait_until_healthy().await;
        load.wait_for_acks(50).await;
    }
    load.settle().await;
    cluster.stop().await;
}

#[tokio::test]
async fn all_processes_killed_at_once_come_back_with_everything_that_was_acknowledged() {
    let mut cluster = Processes::start().await;
    let load = load("power", cluster.clients()).await;
    for _ in 0..2 {
        load.wait_for_acks(300).await;
        cluster.kill_all();
        cluster.start_all().await;
        cluster.wait_until_healthy().await;
    }
    load.wait_for_acks(100).await;
    load.settle().await;
    cluster.stop().await;
}

/// An ORDERED push that is stored and gets no ID within its deadline; its receipt.
async fn unreached(at: &Client, topic: &str) -> String {
    let deadline = Duration::from_secs(3);
    let start = Instant::now();
    let message = Message { payload: "no quorum".into(), ..Message::default() };
    let client = rust_client(std::slice::from_ref(at), Options { deadline, ..Options::default() });
    let pushed = client.push_one(topic, message, AckLevel::Ordered).await;
    let failure = pushed.expect_err("there is no quorum");
    assert!(start.elapsed() < deadline, "inside its deadline: {:?}", start.elapsed());
    assert_eq!(failure.status.code(), Code::Unavailable, "{failure}");
    assert!(!is_not_stored(&failure.status), "it is stored: {failure}");
    failure.receipt.expect("a receipt of what was stored")
}

#[tokio::test]
async fn without_a_quorum_local_goes_on_ordered_says_so_and_ids_continue_after_it() {
    let mut cluster = Processes::start().await;
    let nyc = cluster.at("nyc").clone();
    nyc.create_topic("quorum").await.expect("created");
    let within = Duration::from_secs(10);
    let first = nyc.push("quorum", "first", AckLevel::Ordered, within).await.expect("ordered");
    assert_eq!(first.message_id, 1);
    // LOCAL answers once the topic is known where it is pushed.
    for client in cluster.clients() {
        client.push("quorum", "warm", AckLevel::Local, within).await.expect("stored");
    }
    cluster.kill("mci-message-id");
    cluster.kill("sea-message-id");
    let mut receipts = Vec::new();
    for (index, datacenter) in DATACENTERS.iter().enumerate() {
        let payload = format!("local at {datacenter}");
        let stored = cluster.at(datacenter).push("quorum", &payload, AckLevel::Local, within).await;
        receipts.push(stored.unwrap_or_else(|error| panic!("{index}: {payload}: {error}")).receipt);
    }
    receipts.push(unreached(&nyc, "quorum").await);
    cluster.begin("mci-message-id");
    cluster.wait_until_healthy().await;
    let mut highest = 0;
    for receipt in &receipts {
        let id = eventually(WAIT, "an ID", async || {
            let answer = nyc.receipt(receipt).await.ok()?;
            (answer.state() == ReceiptState::Ordered).then_some(answer.message_id)
        });
        highest = highest.max(id.await);
    }
    // first, three warm ones, three local ones, and the one whose ORDERED was not reached.
    assert_eq!(highest, 8, "IDs have no holes");
    cluster.begin("sea-message-id");
    cluster.wait_until_healthy().await;
    for datacenter in DATACENTERS {
        cluster.terminate(&format!("{datacenter}-message-id")).await;
    }
    for datacenter in DATACENTERS {
        cluster.begin(&format!("{datacenter}-message-id"));
    }
    cluster.wait_until_healthy().await;
    let last = eventually(WAIT, "ORDERED to succeed", async || {
        nyc.push("quorum", "last", AckLevel::Ordered, within).await.ok()
    });
    let last = last.await.message_id;
    assert!((9..=10).contains(&last), "IDs continue: {last}");
    cluster.stop().await;
}
