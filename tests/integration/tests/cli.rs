//! The command line from end to end: what it prints for programs, and its exit codes.

use serde_json::Value;
use trunkline_integration::Dev;

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
async fn bench_loses_and_duplicates_nothing() {
    let mut dev = Dev::start("none").await;
    let printed =
        dev.cli(&["bench", "--rate", "50", "--size", "200", "--duration", "3s", "--topics", "2", "--json"]);
    let rows = rows(&printed);
    assert!(!rows.is_empty());
    let number = |name: &str| rows.iter().find_map(|row| row.get(name).and_then(Value::as_u64));
    assert_eq!((number("lost"), number("duplicated")), (Some(0), Some(0)), "{printed}");
    dev.stop().await;
}
