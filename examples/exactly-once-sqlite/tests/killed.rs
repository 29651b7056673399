//! The program is killed again and again while it works, and its balances are right to the last message.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use trunkline_client::api::{AckLevel, Message};
use trunkline_client::{Options, StreamOptions};
use trunkline_integration::connect::rust_client;
use trunkline_integration::{Dev, eventually};

const TOPIC: &str = "payments";
const MESSAGES: i64 = 4_000;
const ACCOUNTS: i64 = 7;
const KILLS: i64 = 8;

fn start(dev: &Dev, database: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_exactly-once-sqlite"))
        .arg(TOPIC)
        .arg(database)
        .env("TRUNKLINE_ENDPOINTS", dev.endpoints())
        .stdout(Stdio::null())
        .spawn()
        .expect("the example can be run")
}

/// The first number that a query gives; `None` while there is none.
fn number(database: &Path, query: &str) -> Option<i64> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    connection.busy_timeout(Duration::from_secs(5)).ok()?;
    connection.query_row(query, [], |row| row.get(0)).ok()
}

#[tokio::test]
async fn whenever_it_is_killed_each_message_counts_once() {
    let mut dev = Dev::start("none").await;
    push(&dev).await;
    let database = dev.directory().join("balances.db");
    let mut killed_at = Vec::new();
    for kill in 1..=KILLS {
        let mut child = start(&dev, &database);
        let wanted = kill * MESSAGES / (KILLS + 2);
        eventually(Duration::from_secs(60), "the example to go on", async || {
            number(&database, "SELECT next FROM places").filter(|next| *next > wanted)
        })
        .await;
        child.kill().expect("killed");
        child.wait().expect("it has ended");
        killed_at.extend(number(&database, "SELECT next FROM places"));
    }
    assert!(killed_at.iter().any(|next| *next <= MESSAGES), "it was never killed at work: {killed_at:?}");
    let mut child = start(&dev, &database);
    eventually(Duration::from_secs(60), "everything to be read", async || {
        number(&database, "SELECT next FROM places").filter(|next| *next == MESSAGES + 1)
    })
    .await;
    child.kill().expect("killed");
    child.wait().expect("it has ended");
    for account in 0..ACCOUNTS {
        let expected: i64 = (1..=MESSAGES).filter(|n| n % ACCOUNTS == account).sum();
        let query = format!("SELECT amount FROM balances WHERE account = 'account-{account}'");
        assert_eq!(number(&database, &query), Some(expected), "account {account}");
    }
    dev.stop().await;
}

/// Message n gives n to account n % 7.
async fn push(dev: &Dev) {
    let options = StreamOptions { level: AckLevel::Ordered, ..StreamOptions::default() };
    let stream = rust_client(dev.clients(), Options::default()).push_stream(TOPIC, options);
    let mut pending = Vec::new();
    for n in 1..=MESSAGES {
        let (payload, key) = (n.to_string().into(), format!("account-{}", n % ACCOUNTS));
        let message = Message { payload, key, ..Message::default() };
        pending.push(stream.send(message).await.expect("the stream takes it"));
    }
    for pending in pending {
        pending.outcome().await.unwrap_or_else(|failure| panic!("{}", failure.status));
    }
}
