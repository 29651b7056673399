//! Each class has a connection of its own: what fills or breaks one leaves the others alone.

use tokio::time::{Instant, sleep};
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_simulation::pipes::Way;
use trunkline_simulation::{Simulation, World};
use trunkline_wire::internal::BootstrapRequest as Frame;

use crate::bed::{ADDRESS, Bed, CLIENT, SERVER, SINK, Task, millis};

const CLASSES: [Class; 4] = [Class::Calls, Class::Consensus, Class::Follow, Class::Records];

/// Calls of every class but `not`, each in a round trip.
async fn prompt(bed: &Bed, not: Class, first: u64, round_trip: std::time::Duration) {
    for call in 0..10 {
        for (number, class) in CLASSES.into_iter().enumerate().filter(|(_, class)| *class != not) {
            let id = first + call * 10 + number as u64;
            let task = Task { id, work_ms: 1, request_bytes: 200, answer_bytes: 200 };
            let began = Instant::now();
            let answer = bed.work_as(class, task, millis(2_000)).await;
            answer.unwrap_or_else(|status| panic!("{class:?} beside {not:?}: {status:?}"));
            let took = began.elapsed();
            assert!(took <= round_trip + millis(30), "{class:?} took {took:?} beside {not:?}");
        }
        sleep(millis(bed.world.random.below(300))).await;
    }
}

async fn one_of_four(world: World) {
    let bed = Bed::new(&world);
    let _server = bed.start_server();
    let rate = 1_000_000 + world.random.below(4_000_000);
    let delay = millis(5 + world.random.below(30));
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let jitter = millis(1 + world.random.below(3));
        bed.pipes.set_way(from, to, Way { delay, jitter, bytes_per_second: Some(rate) });
    }
    let busy = *world.random.pick(&CLASSES).expect("four");
    for class in CLASSES {
        bed.connect(class).await;
    }
    assert_eq!(bed.pipes.connections(CLIENT, SERVER), CLASSES.len(), "a connection for each");

    // More than the link carries, and a reader that does not keep up either.
    bed.service.seen().pace = millis(100);
    let opened = bed.network.open(&Peer::new(ADDRESS, busy), SINK, CallOptions::default()).await;
    let (sender, _receiver) = opened.expect("all is well");
    let flood = bed.client.process().spawn("flood", async move {
        let frame = Frame { map: vec![3; 200_000].into() };
        while sender.send(&frame).await.is_ok() {}
    });
    let flood = flood.abort_on_drop();
    sleep(millis(1_000)).await;
    prompt(&bed, busy, 1_000, delay * 2 + millis(8)).await;
    assert!(bed.service.seen().read > 0, "the flood has not even begun");
    assert_eq!(bed.pipes.connections(CLIENT, SERVER), CLASSES.len(), "a connection was lost");
    drop(flood);
    let read = bed.service.seen().read;
    bed.sum_up(format_args!("classes: {busy:?} was busy with {read} bytes read at {rate}/s"));
}

#[test]
fn a_busy_class_does_not_delay_the_others() {
    Simulation::check(20, one_of_four);
}
