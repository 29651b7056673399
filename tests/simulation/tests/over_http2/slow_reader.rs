//! A reader that is slow bounds its writer: what is under way fits the windows of HTTP/2 and the queues of a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_simulation::pipes::SEND_BUFFER_BYTES;
use trunkline_simulation::{Simulation, World};
use trunkline_types::limits::{STREAM_QUEUE_MAX, STREAM_WINDOW_BYTES};
use trunkline_wire::internal::BootstrapRequest as Frame;

use crate::bed::{ADDRESS, Bed, CLIENT, SERVER, SINK, Task, millis};

/// What is encoded at once, and a frame on either side of each queue.
const ENCODED_BYTES: u64 = 64 * 1024;
const FRAMES_AROUND: u64 = 8;

/// What may be under way in one direction of one stream.
fn bound(frame_bytes: u64) -> u64 {
    let queued = (STREAM_QUEUE_MAX as u64 + FRAMES_AROUND) * frame_bytes;
    u64::from(STREAM_WINDOW_BYTES) + queued + ENCODED_BYTES + SEND_BUFFER_BYTES as u64
}

/// Calls on the same connection, while its stream stands still.
async fn calls_go_on(bed: &Bed, class: Class, id: u64) {
    for call in 0..5 {
        let task = Task { id: id + call, work_ms: 5, request_bytes: 1_000, answer_bytes: 1_000 };
        let began = Instant::now();
        bed.work_as(class, task, millis(5_000)).await.expect("the stream's window is not the connection's");
        let took = began.elapsed();
        assert!(
            took <= bed.round_trip * 3 + millis(100),
            "a call took {took:?} beside a stream that stands still"
        );
    }
}

/// What the writer has written beyond what the reader has read; it must come to a stop below the bound.
async fn stands_still(what: &str, frame_bytes: u64, sent: impl Fn() -> u64, read: impl Fn() -> u64) -> u64 {
    let (mut before, mut quiet) = (u64::MAX, 0);
    let mut most = 0;
    for _ in 0..600 {
        sleep(millis(100)).await;
        let under_way = sent().saturating_sub(read());
        most = most.max(under_way);
        assert!(under_way <= bound(frame_bytes), "{what}: {under_way} bytes are under way");
        quiet = if sent() == before { quiet + 1 } else { 0 };
        before = sent();
        if quiet >= 20 {
            return most;
        }
    }
    panic!("{what} never stands still");
}

/// The server's handler does not read.
async fn to_a_slow_handler(bed: &Bed, frame_bytes: u64) -> u64 {
    bed.service.seen().pace = Duration::from_secs(100_000);
    let peer = Peer::new(ADDRESS, Class::Calls);
    let (sender, _receiver) =
        bed.network.open(&peer, SINK, CallOptions::default()).await.expect("all is well");
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let frame = Frame { map: vec![1; usize::try_from(frame_bytes).expect("small")].into() };
    let writer = bed.client.process().spawn("writer", async move {
        while sender.send(&frame).await.is_ok() {
            counter.fetch_add(frame.map.len() as u64, Ordering::Relaxed);
        }
    });
    let _writer = writer.abort_on_drop();
    let read = || bed.service.seen().read;
    let most = stands_still("to the server", frame_bytes, || sent.load(Ordering::Relaxed), read).await;
    calls_go_on(bed, Class::Calls, 100).await;
    most
}

/// The client does not read; then it reads all, and nothing is missing.
async fn to_a_slow_caller(bed: &Bed, frame_bytes: u64) -> u64 {
    let (_heartbeats, mut receiver) = bed.source(1, frame_bytes, 0).await.expect("all is well");
    let sent = || bed.service.seen().sent;
    let most = stands_still("to the client", frame_bytes + 8, sent, || 0).await;
    calls_go_on(bed, Class::Follow, 200).await;
    let bytes = usize::try_from(frame_bytes).expect("small");
    let mut number = 0;
    while number * frame_bytes < 2 * most {
        number += 1;
        let frame = receiver.next().await.expect("the stream lives").expect("it has no end");
        assert_eq!(frame, Task::answer(number, bytes), "frames come in order, and all of them");
    }
    most
}

async fn a_slow_reader(world: World) {
    let bed = Bed::new(&world);
    let server = bed.start_server();
    bed.connect(Class::Calls).await;
    let frame_bytes =
        [1_000, 20_000, 64 * 1024, 1 << 20][usize::try_from(world.random.below(4)).expect("four")];
    let (there, back) =
        (to_a_slow_handler(&bed, frame_bytes).await, to_a_slow_caller(&bed, frame_bytes).await);
    for most in [there, back] {
        assert!(
            most >= u64::from(STREAM_WINDOW_BYTES) / 2,
            "the window of {most} bytes does not fill a long pipe"
        );
    }
    assert_eq!(bed.pipes.connections(CLIENT, SERVER), 2, "one for each class, and none was lost");
    bed.sum_up(format_args!(
        "slow reader: frames of {frame_bytes}, at most {there} and {back} bytes under way"
    ));
    drop(server);
}

#[test]
fn a_slow_reader_bounds_what_its_writer_has_under_way() {
    Simulation::check(16, a_slow_reader);
}
