//! The command line from end to end: what it prints for programs, and its exit codes.

use std::time::Duration;

use serde_json::Value;
use trunkline_integration::{Dev, eventually};

/// One object a line.
fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn keys(row: &Value) -> Vec<&str> {
    row.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_message_goes_all_the_way_through_the_command_line() {
    let mut dev = Dev::start("none").await;
    topics(&dev);
    push_and_pop(&dev);
    tail_and_describe(&dev);
    refusals(&dev);
    dev.stop().await;
}

fn topics(dev: &Dev) {
    dev.cli(&["topics", "create", "orders"]);
    let listed = rows(&dev.cli(&["topics", "list", "--json"]));
    assert_eq!(listed.iter().map(|row| &row["topic"]).collect::<Vec<_>>(), ["orders"]);
    dev.cli(&["topics", "create", "short-lived"]);
    dev.cli(&["topics", "delete", "short-lived"]);
    let listed = dev.cli(&["topics", "list"]);
    assert!(listed.contains("orders") && !listed.contains("short-lived"), "{listed}");
}

fn push_and_pop(dev: &Dev) {
    dev.cli(&["subscribe", "orders", "billing", "--from", "earliest"]);
    let pushed = dev.cli(&[
        "push",
        "orders",
        "hello",
        "--dc",
        "nyc",
        "--ack",
        "ordered",
        "--key",
        "k",
        "--attribute",
        "a=b",
        "--json",
    ]);
    let pushed = rows(&pushed);
    assert_eq!(
        (pushed.len(), pushed[0]["topic"].as_str(), pushed[0]["message_id"].as_u64()),
        (1, Some("orders"), Some(1))
    );
    assert!(pushed[0]["receipt"].as_str().is_some_and(|receipt| !receipt.is_empty()), "{pushed:?}");
    assert_eq!(keys(&pushed[0]), ["message_id", "receipt", "topic"]);

    let left =
        rows(&dev.cli(&["pop", "orders", "billing", "--wait", "10s", "--no-ack", "--dc", "sea", "--json"]));
    assert_eq!(left.len(), 1);
    assert_eq!((left[0]["payload"].as_str(), left[0]["message_id"].as_u64()), (Some("hello"), Some(1)));
    assert_eq!((left[0]["key"].as_str(), left[0]["attributes"]["a"].as_str()), (Some("k"), Some("b")));
    assert_eq!(
        keys(&left[0]),
        ["attempt", "attributes", "key", "message_id", "payload", "push_time", "topic"]
    );

    let binary = dev.directory().join("binary");
    std::fs::write(&binary, [0xff, 0x00, 0xfe]).expect("written");
    dev.cli(&["push", "orders", "--file", &binary.display().to_string(), "--ack", "everywhere"]);
}

fn tail_and_describe(dev: &Dev) {
    let read = rows(&dev.cli(&["tail", "orders", "--from", "earliest", "--max", "2", "--json"]));
    assert_eq!(read.len(), 2);
    assert_eq!(read[1]["payload_base64"].as_str(), Some("/wD+"));
    assert!(read[1].get("payload").is_none(), "text, or base64 where it is none: {}", read[1]);
    let subscriptions = rows(&dev.cli(&["subscriptions", "list", "--json"]));
    assert_eq!(subscriptions[0]["consumer"].as_str(), Some("billing"));
    for command in [
        &["status"][..],
        &["lag"],
        &["topics", "describe", "orders"],
        &["subscriptions", "describe", "orders", "billing"],
    ] {
        assert!(!dev.cli(command).is_empty(), "{command:?} prints nothing");
    }
}

fn refusals(dev: &Dev) {
    for (args, says) in [
        (&["pop", "orders", "nobody"][..], "subscribe"),
        (&["push", "or/ders", "x"], "topic"),
        (&["topics", "describe", "missing"], "missing"),
        (&["cut", "nowhere"], "nowhere"),
        (&["push", "orders", "x", "--ack", "twice"], "twice"),
    ] {
        let output = dev.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{args:?} succeeds");
        assert!(said.contains(says), "{args:?} says {said:?}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_a_pop_that_waits_with_130() {
    let mut dev = Dev::start("none").await;
    dev.cli(&["subscribe", "orders", "billing"]);
    let dispatcher = || {
        let described = rows(&dev.cli(&["lag", "orders", "billing", "--json"]));
        described[0]["dispatching_datacenter"].as_str().map(str::to_owned)
    };
    assert_eq!(dispatcher(), None, "nobody pops yet");
    let log = dev.directory().join("pop");
    let mut pop = dev.begin_command("trunkline pop", &["pop", "orders", "billing", "--wait", "50s"], &log);
    // Somebody dispatches once it waits there, so it listens for Ctrl-C by then.
    eventually(Duration::from_secs(30), "the pop to wait at a dispatcher", async || dispatcher()).await;
    pop.interrupt();
    assert_eq!(pop.ended().await.code(), Some(130));
    dev.stop().await;
}

#[tokio::test]
async fn bench_loses_and_duplicates_nothing() {
    let mut dev = Dev::start("30ms").await;
    let disk = dev.data().display().to_string();
    let bench =
        ["bench", "--rate", "100", "--size", "5000", "--duration", "3s", "--json", "--probe-dir", &disk];
    for topics in ["2", "70"] {
        let printed = dev.cli(&[&bench[..], &["--topics", topics]].concat());
        let [row] = &rows(&printed)[..] else { panic!("one object: {printed}") };
        let number = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name}: {printed}"));
        assert_eq!((number("lost"), number("duplicated")), (0, 0), "{printed}");
        assert_eq!((number("sent"), number("acked")), (300, 300), "{printed}");
        assert_eq!(row["visible_by_pair"].as_array().map(Vec::len), Some(9), "{printed}");
        for name in ["wan_bytes", "raft_bytes", "cpu_seconds", "disk_append_fsync_p50_ms", "replicated_rate"]
        {
            assert!(row[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {printed}");
        }
        let raft = row["raft_bytes"].as_f64().unwrap_or_default();
        assert!(raft < 300.0 * 2_500.0, "payloads are not in Raft: {printed}");
    }
    assert_eq!(dev.cli(&["topics", "list", "--json"]), "", "it deletes what it made");
    dev.stop().await;
}
