use std::time::Duration;

use tokio::time::Instant;
use trunkline_testkit::MapBuilder;
use trunkline_testkit::network::Side;
use trunkline_types::limits::READ_THROUGH_AFTER;

use crate::cluster::{Cluster, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";
const MCI: &str = "mci-message-store-1";

#[tokio::test(start_paused = true)]
async fn a_waiting_read_is_told_soon_that_what_is_ordered_is_not_readable_here() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    pusher.push(topic, &bodies("a", 0..1)).await;
    cluster.all("sea-message-store-1", topic, 1).await;
    // Facts still come to this store, records do not.
    for other in cluster.stores().iter().filter(|name| *name != "sea-message-store-1") {
        cluster.network.cut(&Side::node("sea-message-store-1"), &Side::node(other));
    }
    let waits = Duration::from_secs(9);
    let began = Instant::now();
    let (read, pushed) = tokio::join!(cluster.read("sea-message-store-1", topic, 2, waits), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        pusher.push(topic, &bodies("b", 0..1)).await;
        cluster.all(MCI, topic, 2).await;
        began.elapsed()
    });
    assert_eq!((read.records.len(), read.watermark, read.indexed), (0, 1, 2));
    let after = began.elapsed().saturating_sub(pushed);
    assert!(
        after <= READ_THROUGH_AFTER + Duration::from_millis(150),
        "{after:?} after it was readable elsewhere"
    );

    let began = Instant::now();
    let read = cluster.read("sea-message-store-1", topic, 2, waits).await;
    assert_eq!((read.records.len(), read.indexed), (0, 2));
    assert_eq!(began.elapsed(), READ_THROUGH_AFTER, "whoever comes later waits as long");
}

#[tokio::test(start_paused = true)]
async fn fresh_reads_cost_no_disk() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topics = [cluster.orderer.create_topic("t"), cluster.orderer.create_topic("u")];
    let mut pusher = cluster.pusher(ONE).await;
    for n in 0..200 {
        pusher.push(topics[n as usize % 2], &bodies("a", n..n + 1)).await;
    }
    for store in [ONE, TWO] {
        for topic in topics {
            cluster.all(store, topic, 100).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(cluster.figure(store, "cold_reads"), 0.0);
        assert!(cluster.figure(store, "reads") > 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_due_each_second_is_done_however_much_else_there_is() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cluster.figure(ONE, "reads");
    let ask = async || loop {
        cluster.read(ONE, topic, 1, Duration::ZERO).await;
    };
    let askers = futures::future::join_all((0..2_000).map(|_| ask()));
    let time = async {
        for _ in 0..120 {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        biased;
        () = time => {}
        _ = askers => {}
    }
    assert!(cluster.figure(ONE, "reads") > before, "nothing was published in more than a second");
}
