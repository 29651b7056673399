//! Three datacenters, all five services, their production code.

use std::sync::Arc;
use std::time::Duration;

use trunkline_simulation::cluster::Cluster;
use trunkline_simulation::{Simulation, World};
use trunkline_testkit::{Load, MapBuilder};

/// Between two pushes of one publisher.
const PACE: Duration = Duration::from_millis(200);

async fn begin(world: &World) -> (Cluster, Load) {
    let map = MapBuilder::three_datacenters().build();
    let cluster = Cluster::start(world, &map).await;
    let teller = world.clone();
    let tell = Arc::new(move |line: String| teller.tell(line));
    let process = cluster.clients().process();
    let load = Load::start(&process, "smoke", &cluster.clients_everywhere(), PACE, tell).await;
    (cluster, load)
}

/// Nothing goes wrong, and nobody says so.
async fn all_is_well(world: World) {
    let (cluster, load) = begin(&world).await;
    load.wait_for_acks(60).await;
    load.settle().await;
    cluster.assert_alive();
    for level in [" WARN ", "ERROR "] {
        assert_eq!(world.history.lines_with(level), Vec::<String>::new());
    }
}

#[test]
fn a_healthy_cluster_warns_of_nothing() {
    Simulation::check(2, all_is_well);
}

/// Pushes and pops at every datacenter while sea is cut off, and after it was healed.
async fn a_datacenter_is_cut_off(world: World) {
    let (cluster, load) = begin(&world).await;
    load.wait_for_acks(30).await;
    cluster.cut_off("sea");
    load.wait_for_acks(60).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    cluster.heal();
    load.wait_for_acks(30).await;
    load.settle().await;
    cluster.assert_alive();
}

#[test]
fn everything_is_popped_once_in_one_order_everywhere_although_a_datacenter_was_cut_off() {
    Simulation::check(2, a_datacenter_is_cut_off);
}

/// One node of each kind crashes, one after another, and comes back.
async fn one_of_each_kind_crashes(world: World) {
    let (mut cluster, load) = begin(&world).await;
    let datacenters = ["nyc", "mci", "sea"];
    for kind in ["message-store-1", "message-id-1", "subscription-position-1", "push-1", "pop-1"] {
        let datacenter = world.random.pick(&datacenters).expect("three");
        let victim = format!("{datacenter}-{kind}");
        load.wait_for_acks(15).await;
        cluster.crash(&victim);
        load.wait_for_acks(15).await;
        cluster.begin(&victim);
        cluster.wait_until_ready().await;
    }
    load.settle().await;
    cluster.assert_alive();
}

#[test]
fn any_node_may_crash_and_nothing_acknowledged_is_lost() {
    Simulation::check(2, one_of_each_kind_crashes);
}

/// All nodes crash at once, in the middle of everything.
async fn all_power_fails(world: World) {
    let (mut cluster, load) = begin(&world).await;
    load.wait_for_acks(30).await;
    let names: Vec<String> = cluster.names().map(str::to_owned).collect();
    names.iter().for_each(|name| cluster.crash(name));
    for name in &names {
        cluster.begin(name);
    }
    cluster.wait_until_ready().await;
    load.wait_for_acks(30).await;
    load.settle().await;
    cluster.assert_alive();
}

#[test]
fn nothing_acknowledged_is_lost_when_all_power_fails() {
    Simulation::check(2, all_power_fails);
}
