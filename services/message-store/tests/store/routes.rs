use std::time::Duration;

use trunkline_testkit::MapBuilder;
use trunkline_testkit::network::Side;
use trunkline_wire::internal::appended::What;
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, bodies};

#[tokio::test(start_paused = true)]
async fn records_and_acknowledgements_go_round_a_cut_between_two_datacenters() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher("nyc-message-store-1").await;
    pusher.push(topic, &bodies("a", 0..10)).await;
    cluster.network.cut(&Side::datacenter("nyc"), &Side::datacenter("sea"));
    pusher.send(topic, &bodies("b", 0..1), AckLevel::Everywhere).await;
    let answers = pusher.answers(3).await;
    assert!(matches!(answers[2], (11, What::Everywhere(_))), "{answers:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    pusher.send(topic, &bodies("c", 0..9), AckLevel::Everywhere).await;
    pusher.answers(27).await;
    for store in ["sea-message-store-1", "sea-message-store-2"] {
        cluster.all(store, topic, 20).await;
    }
    cluster.network.heal_all();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cluster.wan_bytes();
    let payload: Vec<String> = (0..50).map(|n| format!("{n}{}", "x".repeat(5_000))).collect();
    pusher.push(topic, &payload).await;
    cluster.all("sea-message-store-2", topic, 70).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let crossed = (cluster.wan_bytes() - before) / (50.0 * 5_000.0);
    assert!((2.0..2.1).contains(&crossed), "after the heal the direct routes are back: {crossed}");
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_dead_origin_is_finished_from_its_sibling() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    for other in ["mci", "sea"] {
        cluster.network.cut(&Side::node("nyc-message-store-1"), &Side::datacenter(other));
    }
    let mut pusher = cluster.pusher("nyc-message-store-1").await;
    pusher.push(topic, &bodies("a", 0..20)).await;
    cluster.crash("nyc-message-store-1");
    for store in ["nyc-message-store-2", "mci-message-store-1", "sea-message-store-1", "sea-message-store-2"]
    {
        assert_eq!(cluster.all(store, topic, 20).await, bodies("a", 0..20), "{store}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sibling_takes_over_from_a_relay_that_stops_and_gives_back_to_one_that_returns() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topics: Vec<_> = (0..6).map(|n| cluster.orderer.create_topic(&format!("t{n}"))).collect();
    let mut pusher = cluster.pusher("nyc-message-store-2").await;
    for (round, stopped) in ["mci-message-store-1", "mci-message-store-2"].into_iter().enumerate() {
        let other = if round == 0 { "mci-message-store-2" } else { "mci-message-store-1" };
        let count = 20 * (round as u64 + 1);
        for &topic in &topics {
            pusher.push(topic, &bodies("a", 0..10)).await;
        }
        cluster.crash(stopped);
        for &topic in &topics {
            pusher.push(topic, &bodies("b", 0..10)).await;
        }
        for &topic in &topics {
            cluster.all(other, topic, count).await;
        }
        cluster.start(stopped).await;
        for &topic in &topics {
            cluster.all(stopped, topic, count).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let before = cluster.wan_bytes();
    let payload: Vec<String> = (0..50).map(|n| format!("{n}{}", "x".repeat(5_000))).collect();
    for &topic in &topics {
        pusher.push(topic, &payload).await;
        for store in cluster.stores() {
            cluster.all(&store, topic, 90).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let crossed = (cluster.wan_bytes() - before) / (6.0 * 50.0 * 5_000.0);
    assert!((2.0..2.1).contains(&crossed), "one relay per bucket and datacenter again: {crossed}");
}
