//! Large payloads through the binary: the same bytes everywhere, in little memory, and nothing of what ends half-way.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use trunkline_client::{Client, Options, PayloadSource};
use trunkline_integration::connect::rust_client;
use trunkline_integration::{DATACENTERS, Dev, eventually};
use trunkline_types::checksum;
use trunkline_wire::v1::{AckLevel, Message, ReceiptState};

const TOPIC: &str = "films";
const LARGEST: usize = 100_000_000;
/// What four of them at once may take in one process, here that of all services of all datacenters.
const MORE_MEMORY_MAX: u64 = 64 << 20;
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(180);

/// Bytes that nothing compresses.
fn payload(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut payload = Vec::with_capacity(bytes + 8);
    while payload.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        payload.extend_from_slice(&state.to_le_bytes());
    }
    payload.truncate(bytes);
    payload.into()
}

async fn push(client: &Client, payload: Bytes, level: AckLevel) -> trunkline_client::Pushed {
    let outcome = client.push_one(TOPIC, Message { payload, ..Message::default() }, level).await;
    outcome.unwrap_or_else(|failure| panic!("not stored: {}", failure.status))
}

/// The message's ID, once every datacenter has it on disk.
async fn everywhere(client: &Client, receipt: &str) -> u64 {
    eventually(EVERYWHERE_WITHIN, "a payload in three datacenters", async || {
        let known = client.receipt(receipt).await.ok()?;
        let done = known.state() == ReceiptState::Ordered && known.datacenters.len() == DATACENTERS.len();
        done.then_some(known.message_id)
    })
    .await
}

/// Of a process, in bytes: what it has now, or the most since the mark.
fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line of it");
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_of_the_largest_at_once_are_the_same_in_three_datacenters_and_take_little_memory() {
    let mut dev = Dev::start("real").await;
    let client = rust_client(dev.clients(), Options::default());
    push(&client, payload(9, 100), AckLevel::Everywhere).await;
    // From here on the most memory is counted anew.
    fs::write(format!("/proc/{}/clear_refs", dev.pid()), "5").expect("it is ours");
    let before = memory(dev.pid(), "VmRSS");
    let payloads: Vec<Bytes> = (1..=4).map(|seed| payload(seed, LARGEST)).collect();
    let sent = payloads.iter().map(|payload| push(&client, payload.clone(), AckLevel::Local));
    let pushed = join_all(sent).await;
    let mut ids = Vec::new();
    for pushed in &pushed {
        ids.push(everywhere(&client, &pushed.receipt).await);
    }
    for datacenter in DATACENTERS {
        let here = client.only(datacenter).expect("an endpoint");
        let fetched = ids.iter().map(|&id| here.fetch(TOPIC, id).all());
        for (payload, fetched) in payloads.iter().zip(join_all(fetched).await) {
            let fetched = fetched.unwrap_or_else(|status| panic!("{datacenter}: {status}"));
            assert_eq!((fetched.len(), checksum(&fetched)), (LARGEST, checksum(payload)), "{datacenter}");
            assert!(fetched == *payload, "other bytes in {datacenter}");
        }
    }
    let more = memory(dev.pid(), "VmHWM").saturating_sub(before);
    assert!(more <= MORE_MEMORY_MAX, "{} MiB more", more >> 20);
    dev.stop().await;
}

/// Gives its first part at once, and the rest when it is let.
struct Gated {
    payload: Bytes,
    at: u64,
    open: watch::Receiver<bool>,
    reached: Arc<watch::Sender<bool>>,
}

impl Gated {
    fn new(payload: Bytes) -> (Self, watch::Sender<bool>, Arc<watch::Sender<bool>>) {
        let (gate, open) = watch::channel(false);
        let reached = Arc::new(watch::Sender::new(false));
        (Self { at: payload.len() as u64 / 2, payload, open, reached: reached.clone() }, gate, reached)
    }
}

impl PayloadSource for Gated {
    fn bytes(&self) -> u64 {
        self.payload.bytes()
    }

    fn read(&self, at: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
        let read = self.payload.read(at, length);
        if at < self.at {
            return read;
        }
        self.reached.send_replace(true);
        let mut open = self.open.clone();
        async move {
            let _ = open.wait_for(|open| *open).await;
            read.await
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_client_that_vanishes_half_way_leaves_nothing_behind() {
    let mut dev = Dev::start("none").await;
    let (source, _gate, reached) = Gated::new(payload(1, 20_000_000));
    // A client of its own, so that all of it goes.
    {
        let client = rust_client(dev.clients(), Options::default());
        let pushing = client.push_large(TOPIC, Message::default(), source, AckLevel::Local);
        let mut half = reached.subscribe();
        tokio::select! {
            _ = pushing => panic!("it cannot be through"),
            half = half.wait_for(|half| *half) => drop(half.expect("it is sent")),
        }
    }
    let client = rust_client(dev.clients(), Options::default());
    let pushed = push(&client, payload(2, 3_000_000), AckLevel::Ordered).await;
    assert_eq!(pushed.message_id, Some(1), "nothing came before it");
    dev.stop().await;
}

#[tokio::test]
async fn a_payload_whose_coordinator_dies_half_way_is_pushed_again_and_stored_once() {
    let mut dev = Dev::start("none").await;
    let client = rust_client(dev.clients(), Options::default()).only("nyc").expect("an endpoint");
    let large = payload(3, 20_000_000);
    let (source, gate, reached) = Gated::new(large.clone());
    let pushing = client.push_large(TOPIC, Message::default(), source, AckLevel::Ordered);
    let killing = async {
        reached.subscribe().wait_for(|half| *half).await.expect("it is sent");
        // One of the two coordinates; the other goes on.
        let bucket_is_with_either = "nyc-store-1";
        dev.cli(&["stop", bucket_is_with_either]);
        gate.send_replace(true);
    };
    let (pushed, ()) = futures::join!(pushing, killing);
    let id = match pushed {
        Ok(pushed) => pushed.message_id.expect("ordered"),
        // Its stream may have ended with an unknown outcome of nothing: certainly not stored, then.
        Err(failure) => panic!("{}", failure.status),
    };
    assert_eq!(id, 1, "stored once");
    dev.cli(&["start", "nyc-store-1"]);
    for datacenter in DATACENTERS {
        let here = rust_client(dev.clients(), Options::default()).only(datacenter).expect("an endpoint");
        let fetched = here.fetch(TOPIC, id).all().await.unwrap_or_else(|status| panic!("{status}"));
        assert!(fetched == large, "{datacenter}");
    }
}

#[tokio::test]
async fn the_command_line_pushes_and_pops_files_of_any_size() {
    let mut dev = Dev::start("none").await;
    let (file, out) = (dev.directory().join("film"), dev.directory().join("out"));
    let paths = [&file, &out].map(|path| path.to_str().expect("text").to_owned());
    for bytes in [10, 1 << 20, (1 << 20) + 1, 7_000_001] {
        let payload = payload(bytes as u64, bytes);
        fs::write(&file, &payload).expect("written");
        dev.cli(&["subscribe", TOPIC, "archive"]);
        dev.cli(&["push", TOPIC, "--file", &paths[0], "--ack", "everywhere"]);
        dev.cli(&["pop", TOPIC, "archive", "--wait", "10s", "--output", &paths[1]]);
        assert!(fs::read(&out).expect("written") == payload, "{bytes} bytes");
    }
    let fetched = dev.cli(&["fetch", TOPIC, "4", "--output", &paths[1], "--dc", "sea"]);
    assert_eq!(fetched, format!("7000001 bytes written to {}\n", paths[1]));
    let too_large = fs::File::create(&file).expect("created");
    too_large.set_len(100_000_001).expect("sparse");
    let refused = dev.run(&["push", TOPIC, "--file", &paths[0]]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("large.payload_bytes is 100000001, at most 100000000 are allowed"), "{said}");
    dev.stop().await;
}
