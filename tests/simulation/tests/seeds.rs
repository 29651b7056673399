//! A few whole seeds, each run twice; `make sim` runs many.

use trunkline_simulation::run::explore;
use trunkline_simulation::{Simulation, World};

async fn nothing_is_wrong(world: World) {
    let outcomes = explore(world).await;
    assert_eq!(outcomes.wrong, Vec::<String>::new());
    assert!(outcomes.acked > 0 && !outcomes.faults.is_empty());
}

#[test]
fn whatever_fails_every_promise_is_kept_and_a_seed_has_one_history() {
    Simulation::check(4, nothing_is_wrong);
}
