//! A store that is new in another's place: it copies what was before it, closed logs too, and takes part in what comes.

use std::time::Duration;

use trunkline_testkit::{MapBuilder, eventually};
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, LONG, bodies};

const NYC: &str = "nyc-message-store-1";
const SIBLING: &str = "nyc-message-store-2";
const MCI: &str = "mci-message-store-1";
const SEA: &str = "sea-message-store-1";

/// Logs of earlier boots are closed, later ones are open, and facts are forgotten.
async fn with_a_past(builder: MapBuilder) -> (Cluster, trunkline_types::TopicId) {
    let mut cluster = Cluster::of(builder).await;
    let topic = cluster.orderer.create_topic("t");
    for (round, store) in (0..).zip([NYC, MCI, SEA]) {
        cluster.pusher(store).await.push(topic, &bodies("a", round * 10..round * 10 + 10)).await;
        cluster.all(SEA, topic, (round + 1) * 10).await;
    }
    cluster.orderer.close_ended();
    for store in [NYC, MCI, SEA] {
        cluster.crash(store);
        cluster.start(store).await;
    }
    let closed = async || (cluster.orderer.closed() >= 3).then_some(());
    eventually(LONG, "the logs of the first boots to be closed", closed).await;
    cluster.pusher(MCI).await.push(topic, &bodies("a", 30..40)).await;
    for store in cluster.stores() {
        cluster.all(&store, topic, 40).await;
    }
    cluster.orderer.forget_facts();
    (cluster, topic)
}

async fn lacks_nothing(cluster: &Cluster, store: &str) {
    let done = async || {
        let left = ["logs_lacking", "indexes_copying"].map(|figure| cluster.figure(store, figure));
        (left == [0.0, 0.0]).then_some(())
    };
    eventually(LONG, "the new store to lack nothing", done).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_store_gets_all_ordered_records_closed_logs_among_them_and_its_sibling_may_die() {
    let (mut cluster, topic) = with_a_past(MapBuilder::three_datacenters()).await;
    cluster.crash(NYC);
    cluster.replace(NYC).await;
    assert_eq!(cluster.all(NYC, topic, 40).await, bodies("a", 0..40));
    lacks_nothing(&cluster, NYC).await;
    cluster.crash(SIBLING);
    cluster.cut_off("nyc");
    assert_eq!(cluster.all(NYC, topic, 40).await, bodies("a", 0..40));
    cluster.network.heal_all();
    cluster.start(SIBLING).await;
    cluster.pusher(NYC).await.push(topic, &bodies("a", 40..50)).await;
    for store in cluster.stores() {
        assert_eq!(cluster.all(&store, topic, 50).await, bodies("a", 0..50), "{store}");
    }
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn a_new_store_that_has_no_sibling_copies_from_another_datacenter() {
    let builder = MapBuilder::three_datacenters().nodes(trunkline_types::Role::MessageStore, 1);
    let (mut cluster, topic) = with_a_past(builder).await;
    cluster.crash(NYC);
    cluster.replace(NYC).await;
    assert_eq!(cluster.all(NYC, topic, 40).await, bodies("a", 0..40));
    lacks_nothing(&cluster, NYC).await;
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn copying_goes_on_where_it_was_interrupted() {
    let (mut cluster, topic) = with_a_past(MapBuilder::three_datacenters()).await;
    cluster.crash(NYC);
    cluster.cut_off("nyc");
    cluster.crash(SIBLING);
    cluster.replace(NYC).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.crash(NYC);
    cluster.network.heal_all();
    cluster.start(NYC).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    cluster.crash(NYC);
    cluster.start(NYC).await;
    assert_eq!(cluster.all(NYC, topic, 40).await, bodies("a", 0..40));
    lacks_nothing(&cluster, NYC).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_replaced_stops_and_says_why() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    cluster.pusher(NYC).await.push(topic, &bodies("a", 0..5)).await;
    let old = cluster.id(NYC);
    cluster.replace(NYC).await;
    let why = cluster.replaced_ended().await;
    assert!(why.contains(&format!("node {old} was replaced by")), "{why}");
    assert_eq!(cluster.all(NYC, topic, 5).await, bodies("a", 0..5));
}

#[tokio::test(start_paused = true)]
async fn what_only_a_replaced_store_had_on_disk_elsewhere_acknowledges_nothing_more() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    cluster.pusher(MCI).await.push(topic, &bodies("a", 0..5)).await;
    cluster.all(NYC, topic, 5).await;
    cluster.orderer.stop(true);
    let mut pusher = cluster.pusher(MCI).await;
    pusher.send(topic, &bodies("b", 0..5), AckLevel::Everywhere).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.crash(NYC);
    cluster.replace(NYC).await;
    cluster.orderer.stop(false);
    // Both, or only their origin, may have had them in nyc: now the new one has.
    let all = [bodies("a", 0..5), bodies("b", 0..5)].concat();
    for store in cluster.stores() {
        assert_eq!(cluster.all(&store, topic, 10).await, all, "{store}");
    }
    pusher.answers(15).await;
}
