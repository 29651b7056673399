//! Random crashes and cuts under load: what was acknowledged is ordered, once, the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trunkline_message_store::Options;
use trunkline_testkit::network::Side;
use trunkline_testkit::{MapBuilder, Random, eventually};
use trunkline_types::TopicId;

use crate::cluster::{Cluster, bodies};

const SEEDS: u64 = 20;
const STEPS: u64 = 60;

fn seed(seed: u64) -> usize {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(history(seed))
}

#[test]
fn what_was_acknowledged_is_ordered_once_and_the_same_everywhere() {
    let mut closed = 0;
    for number in 0..SEEDS {
        eprintln!("seed {number}");
        closed += seed(number);
    }
    assert!(closed > 0, "no log was closed");
}

/// Returns how many logs were closed.
async fn history(seed: u64) -> usize {
    let random = Random::new(seed);
    let options = Options { recent_records_bytes: 30_000, catch_up_bytes: 1 << 16, ..Options::default() };
    let builder = MapBuilder::three_datacenters();
    let mut cluster = Cluster::with(builder, options, Duration::from_millis(random.below(3))).await;
    cluster.orderer.close_ended();
    let topics: Vec<TopicId> = (0..5).map(|n| cluster.orderer.create_topic(&format!("t{n}"))).collect();
    let mut acked: BTreeMap<TopicId, BTreeSet<String>> = BTreeMap::new();
    for step in 0..STEPS {
        cluster.assert_nobody_gave_up();
        disturb(&mut cluster, &random).await;
        let alive: Vec<String> = cluster.stores().into_iter().filter(|name| cluster.is_alive(name)).collect();
        let store = random.pick(&alive).unwrap().clone();
        let topic = *random.pick(&topics).unwrap();
        let bodies =
            bodies(&format!("{step}-{}", "x".repeat(random.below(2_000) as usize)), 0..1 + random.below(20));
        let stored = cluster.try_push(&store, topic, &bodies, Duration::from_secs(1)).await;
        acked.entry(topic).or_default().extend(stored.into_iter().map(|at| bodies[at].clone()));
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
    }
    cluster.network.heal_all();
    for store in cluster.stores() {
        if !cluster.is_alive(&store) {
            cluster.start(&store).await;
        }
    }
    agree(&cluster, &topics, &acked).await;
    cluster.assert_nobody_gave_up();
    cluster.orderer.closed()
}

async fn disturb(cluster: &mut Cluster, random: &Random) {
    let stores = cluster.stores();
    let names = ["nyc", "mci", "sea"];
    match random.below(8) {
        0 | 1 => {
            let store = random.pick(&stores).unwrap();
            let alive = stores.iter().filter(|name| cluster.is_alive(name)).count();
            if !cluster.is_alive(store) {
                cluster.start(store).await;
            } else if alive > 3 {
                cluster.crash(store);
            }
        }
        2 => cluster.cut_off(random.pick(&names).unwrap()),
        3 => {
            let (a, b) = (random.pick(&names).unwrap(), random.pick(&stores).unwrap());
            cluster.network.cut(&Side::datacenter(a), &Side::node(b));
        }
        4 | 5 => cluster.network.heal_all(),
        6 if random.one_in(3) => cluster.orderer.forget_settled_facts(),
        _ => {}
    }
}

/// All stores come to hold the same messages in the same order, every acknowledged one once.
async fn agree(cluster: &Cluster, topics: &[TopicId], acked: &BTreeMap<TopicId, BTreeSet<String>>) {
    for &topic in topics {
        let acked = acked.get(&topic).cloned().unwrap_or_default();
        let mut last = 0;
        let all = eventually(Duration::from_secs(60), "everything that was acknowledged", async || {
            let watermark = cluster.read("nyc-message-store-1", topic, 1, Duration::ZERO).await.watermark;
            let all = cluster.all("nyc-message-store-1", topic, watermark).await;
            let settled = watermark == std::mem::replace(&mut last, watermark);
            let there: BTreeSet<&String> = all.iter().collect();
            (settled && acked.iter().all(|body| there.contains(body))).then_some(all)
        })
        .await;
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "nothing twice");
        for store in cluster.stores() {
            let there = cluster.all(&store, topic, all.len() as u64).await;
            let differs = there.iter().zip(&all).position(|(there, here)| there != here);
            assert_eq!(differs, None, "{store} has another order");
        }
    }
}
