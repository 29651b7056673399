use std::time::Duration;
use std::collections::BTreeMap;
use trunkline_simulation::cluster::Cluster;
use trunkline_simulation::{Simulation, World};
use trunkline_testkit::{MapBuilder, eventually};
use trunkline_wire::v1::{AckLevel, ReceiptState};

async fn scenario(world: World) {
    let map = MapBuilder::three_datacenters().build();
    let mut cluster = Cluster::start(&world, &map).await;
    let clients = cluster.clients_everywhere();
    let within = Duration::from_secs(5);
    eventually(Duration::from_secs(20), "created", async || clients[0].create_topic("t").await.ok()).await;
    world.tell("topic created");
    let mut receipts = Vec::new();
    let names: Vec<String> = cluster.names().map(str::to_owned).filter(|n| !n.contains("position")).collect();
    let mut down: Option<String> = None;
    for number in 0..200 {
        let c = &clients[number % 3];
        if number % 20 == 10 {
            match world.random.below(5) {
                0 => cluster.cut_off(["nyc", "mci", "sea"][world.random.below(3) as usize]),
                1 => { for name in &names { cluster.crash(name); } for name in &names { cluster.begin(name).await; } }
                _ => { let v = world.random.pick(&names).unwrap().clone(); cluster.crash(&v); down = Some(v); }
            }
        }
        if number % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(world.random.below(8000))).await;
            cluster.heal();
            if let Some(v) = down.take() { cluster.begin(&v).await; }
            if world.random.one_in(2) { cluster.wait_until_ready().await; }
        }
        let level = if world.random.one_in(4) { AckLevel::Ordered } else { AckLevel::Local };
        match c.push("t", &format!("m{number}"), level, within).await {
            Ok(r) => { world.tell(format!("{number} at {}: id {}", c.name(), r.message_id)); receipts.push((number, r.receipt)); }
            Err(e) => world.tell(format!("{number} at {}: {} {}", c.name(), e.code(), e.message())),
        }
    }
    cluster.heal();
    if let Some(v) = down.take() { cluster.begin(&v).await; }
    cluster.wait_until_ready().await;
    let mut ids = BTreeMap::new();
    for (number, receipt) in receipts {
        let c = &clients[(number + 1) % 3];
        let id = eventually(Duration::from_secs(100), &format!("ID for {number}"), async || {
            match c.receipt(&receipt).await {
                Ok(a) => { if a.state() != ReceiptState::Ordered { world.tell(format!("receipt {number}: {:?}", a.state()));} (a.state() == ReceiptState::Ordered).then_some(a.message_id) },
                Err(e) => { world.tell(format!("receipt {number}: {}", e.message())); None }
            }
        }).await;
        world.tell(format!("{number} is {id}"));
        assert_eq!(ids.insert(id, number), None);
    }
    cluster.assert_alive();
    if world.seed == 7 { assert!(false); }
    assert!(ids.len() > 100, "{} of 200", ids.len());
}

#[test]
fn scratch() {
    Simulation::check(40, scenario);
}
