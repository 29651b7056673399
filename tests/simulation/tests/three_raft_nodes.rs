//! Three Raft nodes, a cut and a crash.

use std::time::Duration;

use trunkline_simulation::raft::RaftCluster;
use trunkline_simulation::{Simulation, World};
use trunkline_testkit::network::Side;

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Each node in turn is cut off, then killed and started again; which goes first the seed decides.
async fn a_cut_and_a_crash(world: World) {
    let mut cluster = RaftCluster::start(&world).await;
    let voters = cluster.voters();
    let first = usize::try_from(world.random.below(3)).expect("below three");
    seconds(3).await;
    let victim = Side::node(voters[first].name.clone());
    world.tell(format_args!("{victim:?} is cut off"));
    world.network.cut(&victim, &Side::Others);
    seconds(4).await;
    world.network.heal_all();
    world.tell("healed");
    seconds(2).await;
    let other = voters[(first + 1) % 3].clone();
    cluster.crash(&other);
    seconds(3).await;
    cluster.begin(&other).await;
    seconds(3).await;
    let last = voters[(first + 2) % 3].clone();
    world.network.cut_one_way(&Side::node(last.name.clone()), &Side::Others);
    seconds(1).await;
    world.network.heal_all();
    cluster.check().await;
}

#[test]
fn nothing_committed_is_lost_and_a_seed_has_one_history() {
    Simulation::check(6, a_cut_and_a_crash);
}

/// All crash at once; what was synced is enough to go on.
async fn power_fails(world: World) {
    let mut cluster = RaftCluster::start(&world).await;
    let voters = cluster.voters();
    for _ in 0..3 {
        seconds(4).await;
        voters.iter().for_each(|node| cluster.crash(node));
        seconds(1).await;
        for node in &voters {
            cluster.begin(node).await;
        }
    }
    seconds(4).await;
    cluster.check().await;
}

#[test]
fn nothing_committed_is_lost_when_all_power_fails() {
    Simulation::check(6, power_fails);
}
