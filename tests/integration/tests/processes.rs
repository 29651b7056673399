//! Every role as a process of its own, killed and started again under load.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_integration::connect::load;
use trunkline_integration::{DATACENTERS, Processes, eventually};
use trunkline_wire::Code;
use trunkline_wire::v1::{AckLevel, ReceiptState};

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
    let deadline = Duration::from_secs(3);
    let start = Instant::now();
    let error = nyc.push("quorum", "no quorum", AckLevel::Ordered, deadline).await.expect_err("no quorum");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(start.elapsed() < deadline, "inside its deadline: {:?}", start.elapsed());
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
    // first, three warm ones, three local ones, and the one that ORDERED left behind.
    assert!((7..=8).contains(&highest), "IDs have no holes: {highest}");
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
