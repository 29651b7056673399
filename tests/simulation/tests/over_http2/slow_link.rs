//! A way that is narrow and busy is not dead: large frames get through it, and calls beside them.

use tokio::time::Instant;
use trunkline_ports::Class;
use trunkline_simulation::pipes::Way;
use trunkline_simulation::{Simulation, World};

use crate::bed::{Bed, CLIENT, SERVER, Task, millis};

/// Below it, a ping waits behind a full send buffer for longer than a dead connection may be silent.
const BYTES_PER_SECOND_MIN: u64 = 250_000;

async fn a_slow_link(world: World) {
    let bed = Bed::new(&world);
    let _server = bed.start_server();
    let rate = BYTES_PER_SECOND_MIN + world.random.below(4_000_000);
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let delay = millis(world.random.below(76));
        bed.pipes.set_way(from, to, Way { delay, jitter: millis(2), bytes_per_second: Some(rate) });
    }
    bed.connect(Class::Calls).await;
    let frame = 1 + world.random.below(8_000_000);
    let bytes = usize::try_from(frame).expect("small");
    let (request_bytes, answer_bytes) = if world.random.one_in(2) { (bytes, 10) } else { (10, bytes) };
    let began = Instant::now();
    let large = Task { id: 1, work_ms: 0, request_bytes, answer_bytes };
    let takes = millis(frame * 1_000 / rate);
    let mut beside = 0;
    let answer = {
        let mut call = std::pin::pin!(bed.work(large, takes + bed.round_trip * 20 + millis(2_000)));
        loop {
            let small = Task { id: 10 + beside, work_ms: 0, request_bytes: 100, answer_bytes: 100 };
            tokio::select! {
                biased;
                answer = call.as_mut() => break answer,
                small = bed.work(small, millis(5_000)) => {
                    small.expect("a small call beside a large one");
                    beside += 1;
                }
            }
        }
    };
    let took = began.elapsed();
    assert_eq!(answer.expect("large, and in time"), Task::answer(1, answer_bytes));
    assert!(took >= takes, "faster than the link");
    assert_eq!(bed.pipes.connections(CLIENT, SERVER), 1, "it was taken for dead");
    bed.sum_up(format_args!(
        "slow link: {frame} bytes at {rate}/s in {} ms, {beside} calls beside them",
        took.as_millis()
    ));
}

#[test]
fn a_narrow_busy_link_is_not_taken_for_dead() {
    Simulation::check(24, a_slow_link);
}
