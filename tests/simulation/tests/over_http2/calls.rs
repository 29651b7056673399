//! Calls while the way and the server go wrong in every manner: answered, or over at their deadline; and after it all is
//! well again soon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_ports::process::TaskGuard;
use trunkline_simulation::{Simulation, World};
use trunkline_types::limits::SILENCE_MAX;
use trunkline_wire::status::is_not_stored;
use trunkline_wire::{Code, Status};

use crate::bed::{Bed, CLIENT, SERVER, Server, Task, millis};

/// From the moment when nothing is wrong any more to calls that succeed: the dead connection is noticed; and an attempt
/// to dial that began too early has sent its first packet again, or the pause after it is over.
const RECOVERS: Duration = SILENCE_MAX.saturating_add(Duration::from_millis(500));
const CALLERS: u64 = 3;
const ROUNDS: u64 = 6;
/// A timer's own grain.
const GRAIN: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Stall,
    StallThere,
    StallBack,
    ForgottenThere,
    ForgottenBack,
    Vanished,
    Killed,
}

const FAULTS: [Fault; 7] = [
    Fault::Stall,
    Fault::StallThere,
    Fault::StallBack,
    Fault::ForgottenThere,
    Fault::ForgottenBack,
    Fault::Vanished,
    Fault::Killed,
];

/// What became of the calls.
#[derive(Debug, Default)]
struct Told {
    next: u64,
    answered: u64,
    late: u64,
    unreachable: u64,
    /// Certainly not stored.
    refused: Vec<u64>,
    /// Calls that failed, by when they began.
    failed: BTreeMap<Instant, (u64, Status)>,
}

type Shared = Arc<Mutex<Told>>;

fn lock(told: &Shared) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn caller(bed: Bed, name: u64, told: Shared) {
    let random = bed.world.random.fork(&format!("caller {name}"));
    loop {
        sleep(millis(20 + random.below(200))).await;
        let id = {
            let mut told = lock(&told);
            told.next += 1;
            told.next
        };
        let bytes = |random: u64| usize::try_from(random).expect("small");
        let task = Task {
            id,
            work_ms: random.below(40),
            request_bytes: bytes(random.below(10_000)),
            answer_bytes: bytes(random.below(10_000)),
        };
        let within = millis(600 + random.below(2_500));
        let began = Instant::now();
        let answer = bed.work(task, within).await;
        let took = began.elapsed();
        assert!(took <= within + GRAIN, "call {id} took {took:?} of {within:?}");
        let mut told = lock(&told);
        match answer {
            Ok(answer) => {
                assert_eq!(answer, Task::answer(id, task.answer_bytes));
                told.answered += 1;
            }
            Err(status) => {
                match status.code() {
                    Code::DeadlineExceeded => {
                        assert!(took + GRAIN >= within, "call {id} was late after {took:?} of {within:?}");
                        told.late += 1;
                    }
                    Code::Unavailable => told.unreachable += 1,
                    _ => panic!("call {id} failed: {status:?}"),
                }
                if is_not_stored(&status) {
                    told.refused.push(id);
                }
                told.failed.insert(began, (id, status));
            }
        }
    }
}

/// One fault, and its end.
async fn goes_wrong(bed: &Bed, server: Server, fault: Fault, lasts: Duration) -> Server {
    bed.world.tell(format_args!("{fault:?} for {} ms", lasts.as_millis()));
    let pipes = &bed.pipes;
    match fault {
        Fault::Stall | Fault::StallThere | Fault::StallBack => {
            let there = [(CLIENT, SERVER)];
            let back = [(SERVER, CLIENT)];
            let both = [(CLIENT, SERVER), (SERVER, CLIENT)];
            let ways: &[(&str, &str)] = match fault {
                Fault::StallThere => &there,
                Fault::StallBack => &back,
                _ => &both,
            };
            ways.iter().for_each(|(from, to)| pipes.stall(from, to));
            sleep(lasts).await;
            ways.iter().for_each(|(from, to)| pipes.heal(from, to));
            server
        }
        Fault::ForgottenThere => {
            pipes.forget(CLIENT, SERVER);
            server
        }
        Fault::ForgottenBack => {
            pipes.forget(SERVER, CLIENT);
            server
        }
        Fault::Vanished => {
            pipes.vanish(SERVER);
            server.process.crash();
            sleep(lasts).await;
            pipes.come_back(SERVER);
            bed.start_server()
        }
        Fault::Killed => {
            server.process.crash();
            sleep(lasts).await;
            bed.start_server()
        }
    }
}

async fn calls_under_faults(world: World) {
    let bed = Bed::new(&world);
    let told = Shared::default();
    let mut server = bed.start_server();
    let mut slowest = Duration::ZERO;
    bed.connect(trunkline_ports::Class::Calls).await;
    let callers: Vec<TaskGuard> = (0..CALLERS)
        .map(|name| {
            bed.client.process().spawn("caller", caller(bed.clone(), name, told.clone())).abort_on_drop()
        })
        .collect();
    for round in 0..ROUNDS {
        sleep(millis(1_000)).await;
        let fault = *world.random.pick(&FAULTS).expect("seven");
        let lasts = millis(100 + world.random.below(if round % 2 == 0 { 2_000 } else { 9_000 }));
        server = goes_wrong(&bed, server, fault, lasts).await;
        let well_at = Instant::now() + RECOVERS;
        sleep(RECOVERS + millis(4_000)).await;
        let told = lock(&told);
        let failed = told.failed.range(well_at..).next();
        assert!(failed.is_none(), "long after {fault:?}, when all was well: {failed:?}");
        let last = told.failed.keys().next_back();
        let after = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(well_at - RECOVERS));
        world.tell(format_args!("the last call to fail began {} ms after {fault:?}", after.as_millis()));
        slowest = slowest.max(after);
    }
    drop(callers);
    sleep(millis(3_000)).await;
    let told = lock(&told);
    let seen = bed.service.seen();
    for id in &told.refused {
        assert!(!seen.began.contains_key(id), "call {id} was certainly not stored, and was seen");
    }
    assert!(seen.began.values().all(|times| *times == 1 || seen.began[&0] == *times), "a call came twice");
    assert!(told.answered > 100, "{} answers", told.answered);
    bed.sum_up(format_args!(
        "calls: {} answered, {} late, {} unreachable, {} certainly not stored, slowest recovery {} ms",
        told.answered,
        told.late,
        told.unreachable,
        told.refused.len(),
        slowest.as_millis(),
    ));
}

#[test]
fn calls_are_answered_or_over_at_their_deadline_and_all_is_well_soon_after() {
    Simulation::check(60, calls_under_faults);
}
