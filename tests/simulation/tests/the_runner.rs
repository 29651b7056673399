//! The simulator itself: a seed decides everything, and different seeds differ.

use std::time::Duration;

use trunkline_simulation::{Simulation, World};

async fn dice(world: World) {
    let process = world.network.process("dice", &"nyc".into());
    let handle = process.process();
    let (results, mut taken) = tokio::sync::mpsc::channel(4);
    for player in 0..4_u32 {
        let (results, handle) = (results.clone(), handle.clone());
        process.process().spawn("player", async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(handle.random() % 50)).await;
                let _ = results.send((player, handle.random() % 6)).await;
            }
        });
    }
    drop(results);
    while let Some((player, points)) = taken.recv().await {
        world.tell(format_args!("{player} throws {points}"));
    }
}

#[test]
fn a_seed_decides_everything() {
    Simulation::check(8, dice);
    let ((one, ()), (other, ())) = (Simulation::new(1).run(dice), Simulation::new(2).run(dice));
    assert_eq!(one.len(), 41);
    assert_ne!(one.hash(), other.hash());
    assert!(one.first_difference(&other).is_some());
}

#[test]
fn a_panic_in_any_task_fails_the_run() {
    let run = std::panic::catch_unwind(|| {
        Simulation::new(1).run(|world| async move {
            let process = world.network.process("careless", &"nyc".into());
            process.process().spawn("panics", async { panic!("a broken invariant") });
            tokio::time::sleep(Duration::from_secs(1)).await;
        })
    });
    assert!(run.is_err());
}
