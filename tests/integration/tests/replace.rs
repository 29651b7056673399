//! A node whose disk is lost gets a successor: under load, with nothing lost, and for good.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use trunkline_integration::{Dev, eventually};
use trunkline_runtime::OsProcess;
use trunkline_testkit::Load;
use trunkline_wire::v1::AckLevel;

const WITHIN: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(90);
const DATACENTERS: [&str; 3] = ["nyc", "mci", "sea"];
const TOPICS: usize = 8;
const MESSAGES: usize = 25;

fn topic(number: usize) -> String {
    format!("old-{number}")
}

/// Message IDs with their payloads, as one datacenter reads them.
async fn read_all(dev: &Dev, datacenter: &str, topic: &str) -> BTreeMap<u64, String> {
    eventually(WAIT, &format!("{MESSAGES} messages of {topic} at {datacenter}"), async || {
        let response = dev.at(datacenter).read(topic, 1).await.ok()?;
        let rows = response.messages.into_iter().map(|received| {
            let payload = received.message.unwrap_or_default().payload;
            (received.message_id, String::from_utf8_lossy(&payload).into_owned())
        });
        let rows: BTreeMap<u64, String> = rows.collect();
        (rows.len() == MESSAGES).then_some(rows)
    })
    .await
}

/// Topics with messages, as they are read; from before anything goes wrong.
async fn filled(dev: &Dev) -> BTreeMap<String, BTreeMap<u64, String>> {
    let mut before = BTreeMap::new();
    for topic in (0..TOPICS).map(topic) {
        for number in 0..MESSAGES {
            let client = &dev.clients()[number % 3];
            let payload = format!("{topic} {number}");
            client.push(&topic, &payload, AckLevel::Local, WITHIN).await.expect("stored");
        }
        let rows = read_all(dev, "sea", &topic).await;
        before.insert(topic, rows);
    }
    before
}

/// What `trunkline status` says of a node.
fn node(dev: &Dev, name: &str) -> serde_json::Value {
    let said = dev.cli(&["status", "--json"]);
    let said: serde_json::Value =
        serde_json::from_str(said.lines().next().unwrap_or_default()).expect("JSON");
    let nodes = said["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|node| node["name"] == name).expect("a node of the map")
}

fn lose_disk(dev: &Dev, name: &str) {
    dev.cli(&["stop", name]);
    let directory = dev.data().join(&name[..3]).join(name);
    fs::remove_dir_all(directory).expect("it can be removed");
    dev.cli(&["start", name]);
}

async fn under_load(dev: &Dev, process: &OsProcess) -> Load {
    let pace = Duration::from_millis(20);
    Load::start(&process.process(), "load", dev.clients(), pace, Arc::new(|_| ())).await
}

#[tokio::test]
async fn a_store_with_an_emptied_directory_is_replaced_under_load_and_nothing_is_missing_when_its_sibling_dies()
 {
    let mut dev = Dev::start("none").await;
    let before = filled(&dev).await;
    // Its logs of this boot are closed once all have said what they hold of them.
    dev.cli(&["stop", "nyc-store-1"]);
    dev.cli(&["start", "nyc-store-1"]);
    let process = OsProcess::new(|_| ());
    let load = under_load(&dev, &process).await;
    load.wait_for_acks(100).await;

    lose_disk(&dev, "nyc-store-1");
    let error = node(&dev, "nyc-store-1")["error"].to_string();
    assert!(error.contains("trunkline nodes replace nyc-store-1"), "{error}");
    let said = dev.cli(&["nodes", "replace", "nyc-store-1", "nyc-store-1"]);
    assert!(said.contains("nyc-store-1 is replaced by node"), "{said}");
    load.wait_for_acks(100).await;
    let again = dev.cli(&["nodes", "replace", "nyc-store-1", "nyc-store-1"]);
    assert!(again.contains("nyc-store-1 is replaced by node"), "{again}");
    eventually(WAIT, "the new store to lack nothing", async || {
        let store = node(&dev, "nyc-store-1");
        let figures = &store["figures"];
        let copied = figures["logs_lacking"] == 0.0 && figures["indexes_copying"] == 0.0;
        (store["error"].is_null() && copied && figures["topics"].as_f64() > Some(1.0)).then_some(())
    })
    .await;
    load.wait_for_pops(100).await;
    load.settle().await;

    dev.cli(&["stop", "nyc-store-2"]);
    dev.cli(&["cut", "nyc"]);
    for (topic, rows) in &before {
        assert_eq!(&read_all(&dev, "nyc", topic).await, rows, "{topic} at the new store alone");
    }
    dev.cli(&["heal", "nyc"]);
    dev.cli(&["start", "nyc-store-2"]);
    process.kill().await;
    dev.stop().await;

    dev.begin().await;
    for datacenter in DATACENTERS {
        for (topic, rows) in &before {
            assert_eq!(&read_all(&dev, datacenter, topic).await, rows, "{topic} at {datacenter}");
        }
    }
    dev.stop().await;
}

#[tokio::test]
async fn voters_with_emptied_directories_are_replaced_under_load_and_then_make_quorums() {
    let mut dev = Dev::start("none").await;
    let process = OsProcess::new(|_| ());
    let load = under_load(&dev, &process).await;
    load.wait_for_acks(50).await;
    for name in ["nyc-message-id", "mci-subscription-position"] {
        lose_disk(&dev, name);
        let said = dev.cli(&["nodes", "replace", name, name]);
        assert!(said.contains(&format!("{name} is replaced by node")), "{said}");
        load.wait_for_acks(30).await;
        load.wait_for_pops(30).await;
    }
    // Without these two others there is no quorum but with the new ones.
    dev.cli(&["stop", "sea-message-id"]);
    dev.cli(&["stop", "sea-subscription-position"]);
    eventually(WAIT, "a push to be ordered", async || {
        dev.at("mci").push("load-2", "ordered", AckLevel::Ordered, WITHIN).await.ok()
    })
    .await;
    load.wait_for_pops(30).await;
    dev.cli(&["start", "sea-message-id"]);
    dev.cli(&["start", "sea-subscription-position"]);
    load.settle().await;
    process.kill().await;
    dev.stop().await;
    dev.begin().await;
    dev.at("nyc").push("load-2", "later", AckLevel::Ordered, WITHIN).await.expect("ordered");
    dev.stop().await;
}

#[tokio::test]
async fn a_node_that_was_replaced_stays_out() {
    let mut dev = Dev::start("none").await;
    let (directory, kept) = (dev.data().join("sea/sea-store-2"), dev.directory().join("kept"));
    dev.cli(&["stop", "sea-store-2"]);
    fs::rename(&directory, &kept).expect("it can be moved");
    dev.cli(&["start", "sea-store-2"]);
    dev.cli(&["nodes", "replace", "sea-store-2", "sea-store-2"]);
    dev.cli(&["stop", "sea-store-2"]);
    let new = dev.directory().join("new");
    fs::rename(&directory, &new).expect("it can be moved");
    fs::rename(&kept, &directory).expect("it can be moved");
    let refused = dev.run(&["start", "sea-store-2"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("was replaced by"), "{said}");
    for (name, old, new, wrong) in [
        ("no such node", "sea-store-9", "sea-store-1", "is not a node of the map"),
        ("no such address", "sea-store-1", "elsewhere", "is neither HOST:PORT"),
        ("a node of the map", "sea-store-1", "nyc-store-1", "is in the map already"),
    ] {
        let refused = dev.run(&["nodes", "replace", old, new]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(wrong), "{name}: {said}");
    }
    dev.stop().await;
}
