//! The embedded cluster on the same data again, and refusals to start: one clear line, exit code 2.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use trunkline_integration::child::command;
use trunkline_integration::{Dev, eventually, ports};
use trunkline_wire::v1::{AckLevel, ReceiptState};

const WITHIN: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(60);

/// Message IDs with their payloads, as one datacenter reads them.
async fn read_all(dev: &Dev, datacenter: &str, topic: &str, count: usize) -> BTreeMap<u64, String> {
    eventually(WAIT, &format!("{count} messages at {datacenter}"), async || {
        let response = dev.at(datacenter).read(topic, 1).await.ok()?;
        let rows = response.messages.into_iter().map(|received| {
            let payload = received.message.unwrap_or_default().payload;
            (received.message_id, String::from_utf8_lossy(&payload).into_owned())
        });
        let rows: BTreeMap<u64, String> = rows.collect();
        (rows.len() >= count).then_some(rows)
    })
    .await
}

#[tokio::test]
async fn started_again_on_the_same_data_everything_is_there() {
    let mut dev = Dev::start("none").await;
    let mut receipts = BTreeMap::new();
    for number in 0..30 {
        let client = &dev.clients()[number % 3];
        let payload = format!("message {number}");
        let stored = client.push("kept", &payload, AckLevel::Local, WITHIN).await.expect("stored");
        receipts.insert(payload, stored.receipt);
    }
    dev.at("sea").subscribe("kept", "reader").await.expect("subscribed");
    let before = read_all(&dev, "nyc", "kept", 30).await;
    dev.stop().await;

    dev.begin().await;
    for datacenter in ["nyc", "mci", "sea"] {
        assert_eq!(read_all(&dev, datacenter, "kept", 30).await, before, "{datacenter} has other messages");
    }
    dev.kill();

    dev.begin().await;
    assert_eq!(dev.at("mci").list_topics().await.expect("answered"), ["kept"]);
    for (payload, receipt) in &receipts {
        let answer = dev.at("mci").receipt(receipt).await.expect("answered");
        assert_eq!(answer.state(), ReceiptState::Ordered, "{payload}");
        assert_eq!(&before[&answer.message_id], payload);
    }
    let next = dev.at("sea").push("kept", "one more", AckLevel::Ordered, WITHIN).await.expect("ordered");
    assert_eq!(next.message_id, 31, "IDs go on");
    let popped = dev.at("sea").pop("kept", "reader", Vec::new()).await.expect("popped").deliveries;
    assert_eq!(popped.first().and_then(|delivery| delivery.message.as_ref()).map(|m| m.message_id), Some(1));
    dev.stop().await;
}

/// Runs to its end; its exit code and the lines of its standard error.
fn refusal(args: &[String]) -> (Option<i32>, Vec<String>) {
    let output = command().args(args).output().expect("trunkline can be run");
    let said = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    (output.status.code(), said)
}

#[tokio::test]
async fn a_directory_in_use_is_refused_in_one_line() {
    let mut dev = Dev::start("none").await;
    let mut args = dev.args();
    args[2] = ports::free(300).to_string();
    let (code, lines) = refusal(&args);
    assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
    assert!(lines[0].contains("in use"), "{lines:?}");
    dev.stop().await;
}

#[tokio::test]
async fn another_base_port_than_the_data_has_is_refused_in_one_line() {
    let mut dev = Dev::start("none").await;
    dev.stop().await;
    let mut args = dev.args();
    let was = std::mem::replace(&mut args[2], ports::free(300).to_string());
    let (code, lines) = refusal(&args);
    assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
    assert!(lines[0].contains(&format!("was made with --base-port {was}")), "{lines:?}");
}

/// Replaces a directory by a copy of another.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp can be run");
    assert!(copied.success(), "{copied}");
}

#[tokio::test]
async fn a_directory_that_was_rolled_back_is_refused_with_exit_code_2_and_one_error() {
    let mut dev = Dev::start("none").await;
    dev.at("nyc").push("kept", "before", AckLevel::Local, WITHIN).await.expect("stored");
    dev.stop().await;
    let (store, earlier) = (dev.data().join("nyc/nyc-store-1"), dev.directory().join("earlier"));
    copy(&store, &earlier);
    dev.begin().await;
    dev.at("nyc").push("kept", "after", AckLevel::Local, WITHIN).await.expect("stored");
    dev.stop().await;
    fs::remove_dir_all(&store).expect("it can be removed");
    copy(&earlier, &store);
    let (code, lines) = refusal(&dev.args());
    let errors: Vec<&String> = lines.iter().filter(|line| line.contains("ERROR")).collect();
    assert_eq!((code, errors.len()), (Some(2), 1), "{lines:?}");
    assert!(
        errors[0].contains("nyc-store-1") && errors[0].contains("was rolled back or copied"),
        "{lines:?}"
    );
}

#[test]
fn a_port_that_is_taken_is_refused_in_one_line() {
    let _turn = ports::Turn::take();
    let base = ports::free(300);
    let taken = base + 101;
    let _listener = TcpListener::bind(("127.0.0.1", taken)).expect("it was free");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let (base, data) = (base.to_string(), directory.path().join("data").display().to_string());
    let args = ["dev", "--base-port", &base, "--data", &data, "--wan", "none"].map(str::to_owned);
    let (code, lines) = refusal(&args);
    assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
    assert!(lines[0].contains(&taken.to_string()), "{lines:?}");
}

#[tokio::test]
async fn data_of_a_later_version_is_refused_in_one_line() {
    let mut dev = Dev::start("none").await;
    dev.stop().await;
    let identity = dev.data().join("mci/mci-store-2/identity.json");
    let text = fs::read_to_string(&identity).expect("a node has an identity");
    fs::write(&identity, text.replace("\"format\": 1", "\"format\": 999")).expect("it can be written");
    let (code, lines) = refusal(&dev.args());
    assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
    assert!(lines[0].contains("999"), "{lines:?}");
}
