//! Directories that were rolled back or copied.

use std::time::Duration;

use trunkline_testkit::MapBuilder;
use trunkline_types::TopicId;

use crate::cluster::{Cluster, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";

async fn push(cluster: &Cluster, topic: TopicId, range: std::ops::Range<u64>) {
    let count = range.end;
    cluster.pusher(ONE).await.push(topic, &bodies("a", range)).await;
    for store in cluster.stores() {
        cluster.all(&store, topic, count).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_disk_is_behind_what_it_told_does_not_go_on() {
    for known_before in [5, 0] {
        let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
        let topic = cluster.orderer.create_topic("t");
        push(&cluster, topic, 0..known_before).await;
        let backup = cluster.disk(TWO).duplicate();
        push(&cluster, topic, known_before..20).await;
        cluster.crash(TWO);
        cluster.replace_disk(TWO, backup);
        for start in 0..2 {
            cluster.start(TWO).await;
            let why = cluster.ended(TWO).await;
            assert!(
                why.contains("rolled back") && why.contains("on disk up to 21, now"),
                "{known_before}, {start}: {why}"
            );
        }
        assert!(cluster.is_alive(ONE));
        assert_eq!(cluster.all(ONE, topic, 20).await, bodies("a", 0..20));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_crashed_and_whoever_lost_what_peers_had_before_its_fsync_goes_on() {
    // Followers have what an origin sent and not yet had on disk.
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    push(&cluster, topic, 0..20).await;
    let slow = cluster.disk(ONE).duplicate().with_sync_latency(Duration::from_secs(9));
    cluster.crash(ONE);
    cluster.replace_disk(ONE, slow);
    cluster.start(ONE).await;
    let mut pusher = cluster.pusher(ONE).await;
    pusher.send(topic, &bodies("b", 0..5), trunkline_wire::v1::AckLevel::Local).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.crash(ONE);
    let disk = cluster.disk(ONE).reopen().with_sync_latency(Duration::ZERO);
    cluster.replace_disk(ONE, disk);
    for store in [ONE, TWO, ONE] {
        if cluster.is_alive(store) {
            cluster.crash(store);
        }
        cluster.start(store).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert!(cluster.is_alive(ONE) && cluster.is_alive(TWO));
    assert_eq!(cluster.all(ONE, topic, 25).await[20..], bodies("b", 0..5));
}

/// Of boot 2, whose first directory has written no log of its own that would name it. `anew`: the other store begins
/// anew in between, too.
async fn a_second_directory_is_refused(anew: bool) {
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    push(&cluster, topic, 0..5).await;
    cluster.crash(TWO);
    let copy = cluster.disk(TWO).duplicate();
    cluster.start(TWO).await;
    push(&cluster, topic, 5..6).await;
    cluster.crash(TWO);
    cluster.replace_disk(TWO, copy);
    // Started as often as the first.
    cluster.set_starts(TWO, 1);
    if anew {
        cluster.crash(ONE);
        cluster.start(ONE).await;
    }
    cluster.start(TWO).await;
    let why = cluster.ended(TWO).await;
    assert!(why.contains("rolled back or copied") && why.contains("has seen boot 2-"), "{why}");
    assert!(cluster.is_alive(ONE));
}

#[tokio::test(start_paused = true)]
async fn a_second_directory_of_the_same_boot_does_not_go_on() {
    a_second_directory_is_refused(false).await;
}

#[tokio::test(start_paused = true)]
async fn logs_of_a_later_boot_expose_a_counter_that_was_rolled_back() {
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let old = cluster.disk(TWO).duplicate();
    cluster.crash(TWO);
    cluster.start(TWO).await;
    cluster.pusher(TWO).await.push(topic, &bodies("a", 0..5)).await;
    cluster.all(ONE, topic, 5).await;
    // Nobody remembers anything but what is on disk.
    for store in [ONE, TWO] {
        cluster.crash(store);
    }
    cluster.replace_disk(TWO, old);
    cluster.set_starts(TWO, 0);
    cluster.start(ONE).await;
    cluster.start(TWO).await;
    let why = cluster.ended(TWO).await;
    assert!(why.contains("rolled back or copied"), "{why}");
    assert!(cluster.is_alive(ONE));
}

#[tokio::test(start_paused = true)]
async fn whoever_saw_a_boot_knows_it_after_a_start_of_its_own() {
    a_second_directory_is_refused(true).await;
}
