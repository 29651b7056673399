use std::time::Duration;

use tokio::time::Instant;
use trunkline_message_store::Options;
use trunkline_testkit::MapBuilder;
use trunkline_wire::Code;

use crate::cluster::{Cluster, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";

#[tokio::test(start_paused = true)]
async fn a_waiting_read_is_woken_by_the_next_message_and_ends_by_itself() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    pusher.push(topic, &bodies("a", 0..1)).await;
    cluster.all(TWO, topic, 1).await;
    let before = Instant::now();
    let read = cluster.read(TWO, topic, 2, Duration::from_secs(1)).await;
    assert_eq!((read.records.len(), read.watermark, read.earliest), (0, 1, 1));
    assert!(before.elapsed() >= Duration::from_secs(1));
    let (read, _) = tokio::join!(cluster.read(TWO, topic, 2, Duration::from_secs(9)), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        pusher.push(topic, &bodies("b", 0..1)).await;
    });
    assert_eq!(read.records.len(), 1);
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_are_told_apart() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let read = cluster.read(ONE, trunkline_types::TopicId(99 << 16), 1, Duration::ZERO).await;
    assert!(read.unknown_topic && !read.topic_deleted);
    let refused = cluster.try_read(ONE, trunkline_types::TopicId(99 << 16), 0, Duration::ZERO).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn older_messages_come_from_disk_in_the_same_order() {
    let options = Options { recent_records_bytes: 20_000, ..Options::default() };
    let cluster = Cluster::with(MapBuilder::of(&["nyc"]), options, Duration::from_millis(1)).await;
    let topics = [cluster.orderer.create_topic("t"), cluster.orderer.create_topic("u")];
    let mut pusher = cluster.pusher(ONE).await;
    for n in 0..600 {
        pusher.push(topics[n as usize % 2], &bodies("a", n..n + 1)).await;
    }
    for store in [ONE, TWO] {
        let all = cluster.all(store, topics[0], 300).await;
        let expected: Vec<String> = (0..300).map(|n| format!("a-{}", n * 2)).collect();
        assert_eq!(all, expected);
        assert_eq!(cluster.all(store, topics[1], 300).await.len(), 300);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cluster.figure(TWO, "cold_reads") > 0.0, "not all of it can have been in memory");
}

#[tokio::test(start_paused = true)]
async fn fresh_messages_cost_no_disk() {
    let options = Options { recent_records_bytes: 300_000, ..Options::default() };
    let cluster = Cluster::with(MapBuilder::of(&["nyc"]), options, Duration::from_millis(1)).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    // Far more than fits, in all, and each is read soon after it came.
    let body = "x".repeat(10_000);
    for n in 0..100 {
        pusher.push(topic, std::slice::from_ref(&body)).await;
        let read = cluster.read(TWO, topic, n + 1, Duration::from_secs(1)).await;
        assert_eq!((read.records.len(), read.watermark), (1, n + 1));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((cluster.figure(TWO, "cold_reads"), cluster.figure(TWO, "reads")), (0.0, 100.0));
    cluster.read(TWO, topic, 1, Duration::ZERO).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.figure(TWO, "cold_reads"), 1.0, "the first has left memory");
}

#[tokio::test(start_paused = true)]
async fn a_restart_recovers_everything_that_was_acknowledged() {
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    let stored = pusher.push(topic, &bodies("a", 0..50)).await;
    cluster.all(TWO, topic, 50).await;
    cluster.orderer.stop(true);
    pusher.push(topic, &bodies("b", 0..50)).await;
    for name in [ONE, TWO] {
        cluster.crash(name);
    }
    for name in [ONE, TWO] {
        cluster.start(name).await;
    }
    assert_eq!(cluster.all(ONE, topic, 50).await, bodies("a", 0..50), "what was ordered is readable at once");
    cluster.orderer.stop(false);
    let mut pusher = cluster.pusher(TWO).await;
    pusher.push(topic, &bodies("c", 0..1)).await;
    for store in [ONE, TWO] {
        let all = cluster.all(store, topic, 101).await;
        let own =
            |prefix: &str| all.iter().filter(|body| body.starts_with(prefix)).cloned().collect::<Vec<_>>();
        assert_eq!(all[..50], bodies("a", 0..50));
        assert_eq!(own("b-"), bodies("b", 0..50));
        let resolved = cluster.resolve(store, topic, &stored[7], "a-7").await;
        assert_eq!((resolved.on_disk, resolved.decided, resolved.message_id), (true, true, 8));
    }
    assert!(cluster.is_alive(ONE) && cluster.is_alive(TWO));
}
