//! Real text through three datacenters at once, one of them cut off half-way: one sequence everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use trunkline_integration::lines::{Line, changelogs};
use trunkline_integration::{Client, DATACENTERS, Dev, eventually};
use trunkline_types::{LogName, Receipt};
use trunkline_wire::Code;
use trunkline_wire::v1::{AckLevel, Message, PushStreamRequest};

const TOPIC: &str = "changelogs";
const MESSAGES_PER_REQUEST: usize = 50;
/// Messages without a result that a publisher has under way.
const UNDER_WAY_MAX: usize = 2_000;
/// Long enough that fresh messages overtake the backlog (`limits::OVERTAKE_AFTER`).
const CUT: Duration = Duration::from_secs(8);
const STEP_MAX: Duration = Duration::from_secs(300);

/// What one publisher pushed, in order, each with the log that took it.
type Pushed = Vec<(Line, LogName)>;

/// A message as it was popped.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Popped {
    id: u64,
    line: Line,
}

/// Pushes `lines` in order through one PushStream, never beyond what `gate` lets through; `acked` tells how far it is.
async fn push(
    client: Client,
    lines: Vec<Line>,
    mut gate: watch::Receiver<usize>,
    acked: watch::Sender<usize>,
) -> Pushed {
    let (sender, mut receiver) = client.push_stream().await.expect("the stream opens");
    let window = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let send = async {
        let mut sent = 0;
        while sent < lines.len() {
            let open = *gate.wait_for(|open| *open > sent).await.expect("the gate is held");
            let batch = &lines[sent..lines.len().min(open).min(sent + MESSAGES_PER_REQUEST)];
            let permits = window.acquire_many(u32::try_from(batch.len()).expect("small")).await;
            permits.expect("never closed").forget();
            let request = PushStreamRequest {
                topic: TOPIC.to_owned(),
                messages: batch.iter().map(message).collect(),
                ack_level: AckLevel::Local.into(),
                ..PushStreamRequest::default()
            };
            sender.send(&request).await.expect("the stream stays open");
            sent += batch.len();
        }
    };
    let receive = async {
        let mut logs: BTreeMap<u64, LogName> = BTreeMap::new();
        while logs.len() < lines.len() {
            let response = receiver.next().await.expect("no error").expect("the stream stays open");
            window.add_permits(response.results.len());
            for stored in response.results {
                let result = stored.result.expect("a result");
                assert_eq!(result.error, None, "message {}", stored.index);
                let receipt = Receipt::from_text(&result.receipt).expect("a receipt");
                assert_eq!(logs.insert(stored.index, receipt.log), None, "one result each");
            }
            acked.send_replace(logs.len());
        }
        logs
    };
    let ((), logs) = tokio::join!(send, receive);
    assert!(logs.keys().copied().eq(0..lines.len() as u64));
    lines.into_iter().zip(logs.into_values()).collect()
}

fn message(line: &Line) -> Message {
    let attributes = [("file", line.file.clone()), ("line", line.number.to_string())];
    Message {
        payload: line.text.clone().into(),
        attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
        ..Message::default()
    }
}

/// Pops until there are `count` messages.
async fn pop(client: Client, count: usize) -> Vec<Popped> {
    let mut popped: Vec<Popped> = Vec::with_capacity(count);
    let mut previous = Vec::new();
    let deadline = Instant::now() + STEP_MAX;
    while popped.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} popped at {}", popped.len(), client.name());
        let response =
            client.pop(TOPIC, client.name(), std::mem::take(&mut previous)).await.expect("pop succeeds");
        assert!(response.expired.is_empty());
        for delivery in response.deliveries {
            assert_eq!(delivery.attempt, 1, "nothing comes twice");
            previous.push(delivery.token);
            let received = delivery.message.expect("a message");
            let message = received.message.expect("a message");
            let line = Line {
                file: message.attributes["file"].clone(),
                number: message.attributes["line"].parse().expect("a number"),
                text: String::from_utf8(message.payload.to_vec()).expect("text"),
            };
            popped.push(Popped { id: received.message_id, line });
        }
    }
    popped
}

/// Gives files to datacenters in turn.
fn shares() -> Vec<Vec<Line>> {
    let mut shares = vec![Vec::new(); DATACENTERS.len()];
    for (index, file) in changelogs().into_iter().enumerate() {
        // Few long files make shares of unequal size; the shortest takes the next one.
        let shortest = (0..shares.len()).min_by_key(|share| shares[*share].len()).unwrap_or(index % 3);
        shares[shortest].extend(file);
    }
    shares
}

async fn push_everywhere(dev: &Dev, shares: &[Vec<Line>]) -> Vec<Pushed> {
    let halves: Vec<usize> = shares.iter().map(|share| share.len() / 2).collect();
    let gates: Vec<watch::Sender<usize>> = halves.iter().map(|half| watch::Sender::new(*half)).collect();
    let acked: Vec<watch::Sender<usize>> = shares.iter().map(|_| watch::Sender::new(0)).collect();
    let publishers = shares.iter().enumerate().map(|(index, share)| {
        push(dev.clients()[index].clone(), share.clone(), gates[index].subscribe(), acked[index].clone())
    });
    let conduct = async {
        let reach = async |index: usize, count: usize| {
            let mut acked = acked[index].subscribe();
            let reached = tokio::time::timeout(STEP_MAX, acked.wait_for(|acked| *acked >= count)).await;
            reached.expect("in time").expect("the publisher lives");
        };
        for (index, half) in halves.iter().enumerate() {
            reach(index, *half).await;
        }
        dev.cli(&["cut", "sea"]);
        let cut = Instant::now();
        let refused = dev.at("sea").create_topic("without-quorum").await.expect_err("sea is cut off");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        // The others push all; sea keeps its last tenth for after the heal.
        let tenth = shares[2].len() / 10;
        let open = [shares[0].len(), shares[1].len(), shares[2].len() - tenth];
        for (gate, open) in gates.iter().zip(open) {
            gate.send_replace(open);
        }
        for (index, open) in open.into_iter().enumerate() {
            reach(index, open).await;
        }
        tokio::time::sleep_until(cut + CUT).await;
        dev.cli(&["heal", "sea"]);
        gates[2].send_replace(shares[2].len());
    };
    let (pushed, ()) = tokio::join!(join_all(publishers), conduct);
    pushed
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| Box::pin(future)).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// The order in which a publisher's lines were popped: as their places in what it pushed.
fn places(pushed: &Pushed, popped: &[Popped]) -> Vec<usize> {
    let place: BTreeMap<&Line, usize> =
        pushed.iter().enumerate().map(|(place, (line, _))| (line, place)).collect();
    popped.iter().filter_map(|popped| place.get(&popped.line).copied()).collect()
}

fn check(pushed: &[Pushed], sequences: &[Vec<Popped>]) {
    let total: usize = pushed.iter().map(Vec::len).sum();
    for (sequence, datacenter) in sequences.iter().zip(DATACENTERS) {
        assert_eq!(sequence.len(), total, "nothing is missing and nothing comes twice at {datacenter}");
        assert!(sequence.iter().map(|popped| popped.id).eq(1..=total as u64), "dense IDs at {datacenter}");
        assert!(sequence == &sequences[0], "{datacenter} has another sequence");
    }
    let lines: BTreeSet<&Line> = sequences[0].iter().map(|popped| &popped.line).collect();
    assert_eq!(lines.len(), total, "each line once");
    for (pushed, datacenter) in pushed[..2].iter().zip(DATACENTERS) {
        assert!(
            places(pushed, &sequences[0]).into_iter().eq(0..pushed.len()),
            "{datacenter}'s lines in their order"
        );
    }
    check_sea(&pushed[2], &sequences[0]);
}

/// In order within each origin log; of those there are at most two: what followed the cut may overtake its backlog.
fn check_sea(pushed: &Pushed, sequence: &[Popped]) {
    let places = places(pushed, sequence);
    assert_eq!(places.len(), pushed.len(), "all of sea's lines");
    let mut last: BTreeMap<LogName, usize> = BTreeMap::new();
    for place in places {
        let before = last.insert(pushed[place].1, place);
        assert!(before.is_none_or(|before| before < place), "sea's lines in order within their log");
    }
    assert!(last.len() <= 2, "{} logs at sea", last.len());
}

#[tokio::test]
async fn three_consumers_pop_one_sequence_although_a_datacenter_was_cut_off_half_way() {
    let mut dev = Dev::start("real").await;
    dev.at("nyc").create_topic(TOPIC).await.expect("created");
    for client in dev.clients() {
        client.subscribe(TOPIC, client.name()).await.expect("subscribed");
        eventually(STEP_MAX, "the topic to be known everywhere", async || {
            client
                .list_topics()
                .await
                .is_ok_and(|topics| topics.iter().any(|name| name == TOPIC))
                .then_some(())
        })
        .await;
    }
    let shares = shares();
    let total = shares.iter().map(Vec::len).sum();
    let start = Instant::now();
    let pushed = push_everywhere(&dev, &shares).await;
    eprintln!("{total} lines pushed after {:.1} s", start.elapsed().as_secs_f64());
    let sequences = join_all(dev.clients().iter().map(|client| pop(client.clone(), total))).await;
    eprintln!("popped everywhere after {:.1} s", start.elapsed().as_secs_f64());
    check(&pushed, &sequences);
    dev.stop().await;
}
