use std::time::Duration;

use trunkline_message_store::Options;
use trunkline_testkit::{MapBuilder, eventually};
use trunkline_types::Ordinal;
use trunkline_wire::internal::ReplicationStatus;
use trunkline_wire::internal::appended::What;
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, LONG, bodies};

const SEA: &str = "sea-message-store-1";
const NYC: &str = "nyc-message-store-1";

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_is_behind_since_the_contact_was_lost_however_little_was_announced() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    cluster.pusher(NYC).await.push(topic, &bodies("a", 0..5)).await;
    cluster.all(SEA, topic, 5).await;
    let is_up = |streams: &[ReplicationStatus]| {
        !streams.is_empty() && streams.iter().all(|stream| stream.connected && stream.behind_ms == 0)
    };
    eventually(LONG, "no lag", async || is_up(&cluster.replication(SEA, "nyc")).then_some(())).await;
    cluster.cut_off("sea");
    tokio::time::sleep(Duration::from_secs(40)).await;
    let streams = cluster.replication(SEA, "nyc");
    let is_lost = |stream: &ReplicationStatus| !stream.connected && stream.behind_ms > 20_000;
    assert!(!streams.is_empty() && streams.iter().all(is_lost), "{streams:?}");
    cluster.network.heal_all();
    eventually(LONG, "no lag", async || is_up(&cluster.replication(SEA, "nyc")).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_datacenter_that_was_cut_off_is_ordered_once_after_the_heal_with_one_overtaking_change() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut sea = cluster.pusher(SEA).await;
    let mut nyc = cluster.pusher(NYC).await;
    sea.push(topic, &bodies("sea", 0..10)).await;
    cluster.cut_off("sea");
    for n in 1..9 {
        sea.push(topic, &bodies("sea", n * 10..n * 10 + 10)).await;
        nyc.push(topic, &bodies("nyc", n * 10..n * 10 + 10)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    cluster.network.heal_all();
    tokio::time::sleep(Duration::from_secs(4)).await;
    for n in 9..12 {
        let stored = sea.push(topic, &bodies("sea", n * 10..n * 10 + 10)).await;
        assert!(stored.iter().all(|stored| stored.log.ordinal == Ordinal(2)));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let all = cluster.all(NYC, topic, 200).await;
    for store in cluster.stores() {
        assert_eq!(cluster.all(&store, topic, 200).await, all, "{store}");
    }
    let of = |prefix: &str| all.iter().filter(|body| body.starts_with(prefix)).cloned().collect::<Vec<_>>();
    assert_eq!(of("nyc-"), bodies("nyc", 10..90));
    let mut sea: Vec<String> = of("sea-");
    assert_eq!(sea.len(), 120, "nothing missing, nothing twice");
    let late = |body: &String| body.split_once('-').unwrap().1.parse::<u64>().unwrap() >= 90;
    sea.sort_by_key(late);
    assert_eq!(sea, bodies("sea", 0..120), "in order within each log");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_quorum_is_no_reason_to_overtake() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut nyc = cluster.pusher(NYC).await;
    cluster.orderer.stop(true);
    for n in 0..8 {
        nyc.push(topic, &bodies("nyc", n * 10..n * 10 + 10)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    cluster.orderer.stop(false);
    nyc.push(topic, &bodies("nyc", 80..90)).await;
    assert_eq!(cluster.all(SEA, topic, 90).await, bodies("nyc", 0..90));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_catches_up_from_disk_and_fresh_records_pass() {
    let options = Options { recent_records_bytes: 100_000, catch_up_bytes: 1 << 16, ..Options::default() };
    let mut cluster = Cluster::with(MapBuilder::three_datacenters(), options, Duration::from_millis(1)).await;
    let topic = cluster.orderer.create_topic("t");
    let mut nyc = cluster.pusher(NYC).await;
    for store in ["sea-message-store-1", "sea-message-store-2"] {
        cluster.crash(store);
    }
    let large = |n: u64| format!("{n}-{}", "x".repeat(2_000));
    for n in 0..50 {
        let bodies: Vec<String> = (n * 20..n * 20 + 20).map(large).collect();
        nyc.push(topic, &bodies).await;
    }
    for store in ["sea-message-store-1", "sea-message-store-2"] {
        cluster.start(store).await;
    }
    let all = cluster.all("sea-message-store-2", topic, 1_000).await;
    assert_eq!(all, (0..1_000).map(large).collect::<Vec<_>>());
    nyc.send(topic, &bodies("fresh", 0..1), AckLevel::Everywhere).await;
    assert!(matches!(nyc.answers(3).await[2], (1_001, What::Everywhere(_))));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_longer_than_facts_are_kept_copies_the_index() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut nyc = cluster.pusher(NYC).await;
    nyc.push(topic, &bodies("a", 0..100)).await;
    cluster.all(SEA, topic, 100).await;
    cluster.crash(SEA);
    let later = cluster.orderer.create_topic("later");
    nyc.push(topic, &bodies("b", 0..100)).await;
    nyc.push(later, &bodies("c", 0..100)).await;
    cluster.all("sea-message-store-2", later, 100).await;
    cluster.all("sea-message-store-2", topic, 200).await;
    cluster.orderer.forget_facts();
    cluster.start(SEA).await;
    assert_eq!(cluster.all(SEA, topic, 200).await[100..], bodies("b", 0..100));
    assert_eq!(cluster.all(SEA, later, 100).await, bodies("c", 0..100));
    nyc.push(later, &bodies("d", 0..100)).await;
    assert_eq!(cluster.all(SEA, later, 200).await[100..], bodies("d", 0..100));
}

#[tokio::test(start_paused = true)]
async fn closed_logs_stay_readable_and_a_restart_knows_them() {
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut nyc = cluster.pusher(NYC).await;
    nyc.push(topic, &bodies("a", 0..100)).await;
    cluster.all("nyc-message-store-2", topic, 100).await;
    cluster.crash(NYC);
    cluster.orderer.close_all();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for round in 0..2 {
        if round == 0 {
            cluster.start(NYC).await;
        } else {
            cluster.crash(NYC);
            cluster.start(NYC).await;
        }
        assert_eq!(cluster.all(NYC, topic, 100).await, bodies("a", 0..100));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(
        cluster
            .orderer
            .held(cluster.id(NYC))
            .iter()
            .all(|held| held.lacking.is_empty() && held.ended.is_empty())
    );
    assert!(cluster.orderer.logs().is_empty() && cluster.envelope().node != 0);
}
