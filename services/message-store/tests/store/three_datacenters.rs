use trunkline_testkit::MapBuilder;
use trunkline_wire::internal::appended::What;
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, bodies};

#[tokio::test(start_paused = true)]
async fn all_levels_are_answered_and_every_store_reads_the_same() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher("mci-message-store-2").await;
    pusher.send(topic, &bodies("a", 0..1), AckLevel::Everywhere).await;
    let answers = pusher.answers(3).await;
    let [(1, What::Stored(_)), (1, What::Ordered(ordered)), (1, What::Everywhere(everywhere))] = &answers[..]
    else {
        panic!("{answers:?}");
    };
    assert_eq!((ordered.message_id, everywhere.datacenters.len()), (1, 3));
    pusher.send(topic, &bodies("b", 0..1), AckLevel::Ordered).await;
    assert!(matches!(&pusher.answers(2).await[..], [(2, What::Stored(_)), (2, What::Ordered(_))]));
    for store in cluster.stores() {
        assert_eq!(cluster.all(&store, topic, 2).await, ["a-0", "b-0"], "{store}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_crosses_each_wan_link_once() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topics: Vec<_> = (0..8).map(|n| cluster.orderer.create_topic(&format!("t{n}"))).collect();
    let mut payload = 0;
    for store in cluster.stores() {
        let mut pusher = cluster.pusher(&store).await;
        for (n, &topic) in topics.iter().enumerate() {
            let bodies: Vec<String> =
                (0..20).map(|m| format!("{store}-{n}-{m}-{}", "x".repeat(5_000))).collect();
            payload += bodies.iter().map(String::len).sum::<usize>();
            pusher.push(topic, &bodies).await;
        }
    }
    for store in cluster.stores() {
        for &topic in &topics {
            cluster.all(&store, topic, 120).await;
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let crossed = cluster.wan_bytes() / payload as f64;
    assert!((2.0..2.1).contains(&crossed), "the payload crossed {crossed} links");
}

#[tokio::test(start_paused = true)]
async fn without_its_sibling_a_store_waits_for_the_first_other_store_wherever() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    cluster.crash("nyc-message-store-2");
    let mut pusher = cluster.pusher("nyc-message-store-1").await;
    pusher.push(topic, &bodies("warm", 0..1)).await;
    let began = tokio::time::Instant::now();
    pusher.push(topic, &bodies("a", 0..1)).await;
    let trip = std::time::Duration::from_millis(33);
    // Its acknowledgement takes a round trip; that it was ordered, which says as much, may be known earlier.
    assert!(began.elapsed() >= trip / 2 && began.elapsed() < trip * 2, "{:?}", began.elapsed());
}
