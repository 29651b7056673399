//! A call that its caller takes back ends at the server as well; also where the caller cannot say so any more.

use tokio::time::{Instant, sleep, timeout};
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_simulation::{Simulation, World};
use trunkline_types::limits::{LISTENER_KEEPALIVE_INTERVAL, LISTENER_KEEPALIVE_TIMEOUT};

use crate::bed::{ADDRESS, Bed, CLIENT, SERVER, SILENT, Task, millis, numbers};

/// Far more than anyone waits for.
const FOR_EVER_MS: u64 = 50_000;
const CALLS: u64 = 30;

/// Begins call `id`, or a stream, and gives it up after `after`.
async fn gives_up(bed: Bed, id: u64, streams: bool, after: u64) {
    let task = Task { id, work_ms: FOR_EVER_MS, request_bytes: 100, answer_bytes: 0 };
    if streams {
        let opened =
            bed.network.open(&Peer::new(ADDRESS, Class::Calls), SILENT, CallOptions::default()).await;
        let (sender, mut receiver) = opened.expect("all is well");
        sender.send(&numbers(&[id])).await.expect("all is well");
        let _ = timeout(millis(after), async { while let Ok(Some(_)) = receiver.next().await {} }).await;
    } else {
        let _ = timeout(millis(after), bed.work(task, millis(60_000))).await;
    }
}

async fn calls_taken_back(world: World) {
    let bed = Bed::new(&world);
    let _server = bed.start_server();
    bed.connect(Class::Calls).await;
    let mut given_up = Vec::new();
    for id in 1..=CALLS {
        let after = world.random.below(400);
        let giving_up = gives_up(bed.clone(), id, id % 2 == 1, after);
        given_up.push(bed.client.process().spawn("gives up", giving_up));
        sleep(millis(world.random.below(50))).await;
    }
    for task in given_up {
        task.ended().await;
    }
    sleep(bed.round_trip + millis(20)).await;
    let (began, streams) = {
        let seen = bed.service.seen();
        assert!(seen.under_way.is_empty(), "still under way: {:?}", seen.under_way);
        let calls: Vec<&u64> = seen.began.keys().filter(|id| **id > 0 && *id % 2 == 0).collect();
        assert!(calls.iter().all(|id| seen.dropped.contains_key(id)), "{calls:?} were taken back, {seen:?}");
        (seen.began.len(), seen.streams)
    };
    assert_eq!(streams, 0);
    assert!(began > 5, "{began} calls came so far as to be taken back");
    assert_eq!(bed.pipes.connections(CLIENT, SERVER), 1, "calls that are taken back cost no connection");
    bed.connect(Class::Calls).await;
    let took = nobody_says_so(&bed).await;
    bed.sum_up(format_args!(
        "cancelled: {began} of {CALLS} had begun; a caller without power was noticed in {took} ms"
    ));
}

/// The caller is without power, in the middle of calls and of dialing.
async fn nobody_says_so(bed: &Bed) -> u128 {
    let mut calls = Vec::new();
    for id in 1_001..1_006 {
        calls.push(
            bed.client.process().spawn("gives up", gives_up(bed.clone(), id, id % 2 == 0, FOR_EVER_MS)),
        );
    }
    sleep(millis(bed.world.random.below(200)) + bed.round_trip).await;
    assert_eq!(bed.service.seen().under_way.len(), 5);
    bed.pipes.vanish(CLIENT);
    bed.client.crash();
    let began = Instant::now();
    // A ping each interval: the last answer may have come just before.
    let most = LISTENER_KEEPALIVE_INTERVAL * 2 + LISTENER_KEEPALIVE_TIMEOUT;
    while !bed.service.seen().under_way.is_empty() {
        assert!(began.elapsed() <= most, "still under way: {:?}", bed.service.seen().under_way);
        sleep(millis(100)).await;
    }
    drop(calls);
    began.elapsed().as_millis()
}

#[test]
fn a_call_that_is_taken_back_ends_at_the_server() {
    Simulation::check(30, calls_taken_back);
}
