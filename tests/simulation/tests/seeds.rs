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

/// Seeds that found a defect once. (What a seed stands for moves when the simulator's choices do; the tables and service
/// tests named here stay.)
#[test]
fn seeds_that_found_something_stay_mended() {
    for (seed, found) in [
        (
            1,
            "facts were taken only from the local voter: `a_voter_that_hears_its_leader_no_more_sends_stores_to_one_that_does`",
        ),
        (81, "an index copied from a store that had itself just copied had a gap"),
        (
            113,
            "a leader that a cut-off voter still took for one: `a_voter_that_hears_no_leader_sends_stores_to_one_that_does`",
        ),
    ] {
        let (_, outcomes) = Simulation::new(seed).run(explore);
        assert_eq!(outcomes.wrong, Vec::<String>::new(), "seed {seed}: {found}");
    }
}
