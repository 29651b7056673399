//! A server that drains finishes what it has, and leaves nobody in doubt about the rest.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, sleep};
use trunkline_ports::Class;
use trunkline_simulation::{Simulation, World};
use trunkline_wire::Code;
use trunkline_wire::status::is_not_stored;

use crate::bed::{Bed, Task, millis};

const CALLERS: u64 = 5;
const DRAINS: u64 = 4;

#[derive(Debug, Default)]
struct Told {
    answered: Vec<u64>,
    refused: Vec<u64>,
    next: u64,
}

async fn caller(bed: Bed, name: u64, told: Arc<Mutex<Told>>) {
    let random = bed.world.random.fork(&format!("caller {name}"));
    let lock = || told.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        sleep(millis(random.below(60))).await;
        let id = {
            let mut told = lock();
            told.next += 1;
            told.next
        };
        let task = Task { id, work_ms: random.below(400), request_bytes: 500, answer_bytes: 500 };
        match bed.work(task, millis(5_000)).await {
            Ok(_) => lock().answered.push(id),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                assert!(
                    is_not_stored(&status),
                    "a server that drains, and a way on which nothing is lost: call {id}, seen {}: {status:?}",
                    bed.service.seen().began.contains_key(&id)
                );
                lock().refused.push(id);
            }
        }
    }
}

async fn drains(world: World) {
    let bed = Bed::new(&world);
    let told = Arc::new(Mutex::new(Told::default()));
    let mut server = bed.start_server();
    bed.connect(Class::Calls).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|name| {
            bed.client.process().spawn("caller", caller(bed.clone(), name, told.clone())).abort_on_drop()
        })
        .collect();
    let mut slowest = millis(0);
    for _ in 0..DRAINS {
        sleep(millis(500 + world.random.below(1_000))).await;
        let began = Instant::now();
        let process = server.process;
        server.listener.drain(began + millis(10_000)).await;
        let took = began.elapsed();
        world.tell(format_args!("drained in {} ms", took.as_millis()));
        let most = millis(400) + bed.round_trip * 4 + millis(100);
        assert!(took <= most, "drained in {took:?}, though no call takes more than 400 ms");
        slowest = slowest.max(took);
        process.crash();
        sleep(millis(world.random.below(3_000))).await;
        server = bed.start_server();
    }
    sleep(millis(3_000)).await;
    drop(callers);
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = bed.service.seen();
    for id in &told.refused {
        assert!(!seen.began.contains_key(id), "call {id} was certainly not stored, and was seen");
    }
    assert!(told.answered.len() > 50, "{} answers", told.answered.len());
    bed.sum_up(format_args!(
        "drained: {} answered, {} refused, slowest drain {} ms",
        told.answered.len(),
        told.refused.len(),
        slowest.as_millis()
    ));
}

#[test]
fn a_drain_leaves_nobody_in_doubt() {
    Simulation::check(40, drains);
}
