use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_message_store::Options;
use trunkline_testkit::MapBuilder;
use trunkline_wire::internal::appended::What;
use trunkline_wire::status;
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";

#[tokio::test(start_paused = true)]
async fn a_push_is_stored_once_two_stores_have_it_on_disk() {
    let sync = Duration::from_millis(40);
    let cluster = Cluster::with(MapBuilder::of(&["nyc"]), Options::default(), sync).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    pusher.push(topic, &bodies("warm", 0..1)).await;
    let before = Instant::now();
    let stored = pusher.push(topic, &bodies("a", 0..1)).await;
    assert!(before.elapsed() >= sync, "answered before the fsync");
    assert!(before.elapsed() <= sync * 2 + Duration::from_millis(5), "both disks sync at the same time");
    assert_eq!(stored[0].sequence, 2);
    let resolved = cluster.resolve(TWO, topic, &stored[0], "a-0").await;
    assert!(resolved.on_disk);
}

#[tokio::test(start_paused = true)]
async fn without_its_sibling_a_store_answers_accepted_and_no_more() {
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    cluster.crash(TWO);
    let mut pusher = cluster.pusher(ONE).await;
    pusher.send(topic, &bodies("a", 0..1), AckLevel::Local).await;
    pusher.send(topic, &bodies("b", 0..1), AckLevel::None).await;
    assert!(matches!(pusher.answers(1).await[..], [(2, What::Accepted(_))]));
    cluster.start(TWO).await;
    assert!(matches!(pusher.answers(1).await[..], [(1, What::Stored(_))]), "its sibling is back");
}

#[tokio::test(start_paused = true)]
async fn a_lone_store_needs_nobody() {
    let builder = MapBuilder::of(&["nyc"]).nodes(trunkline_types::Role::MessageStore, 1);
    let cluster = Cluster::of(builder).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    pusher.push(topic, &bodies("a", 0..3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_and_a_broken_record_are_refused_as_not_stored() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    cluster.disk(ONE).set_has_room(false);
    pusher.send(topic, &bodies("a", 0..1), AckLevel::Local).await;
    let refused = pusher.answers(1).await;
    cluster.disk(ONE).set_has_room(true);
    let foreign = trunkline_types::TopicId(0);
    pusher.send(foreign, &bodies("a", 0..1), AckLevel::Local).await;
    for (_, what) in refused.into_iter().chain(pusher.answers(1).await) {
        let What::Refused(refused) = what else { panic!("not refused: {what:?}") };
        assert!(status::is_not_stored(&status::from_message(&refused)));
    }
}

#[tokio::test(start_paused = true)]
async fn under_load_every_group_gets_its_turn_and_so_does_what_is_said_each_second() {
    const GROUPS: u16 = 16;
    let builder = MapBuilder::of(&["nyc"]).buckets(64).groups(GROUPS, 1);
    let cluster = Cluster::of(builder).await;
    let mut topics = BTreeMap::new();
    for name in (0..).map(|n| format!("t-{n}")) {
        let topic = cluster.orderer.create_topic(&name);
        topics.entry(cluster.map.ordering_group(topic.bucket()).number).or_insert(topic);
        if topics.len() == usize::from(GROUPS) {
            break;
        }
    }
    let mut pusher = cluster.pusher(ONE).await;
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < Duration::from_secs(3) {
        for topic in topics.values() {
            pusher.send(*topic, &bodies("a", sent..sent + 1), AckLevel::None).await;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let heard = cluster.orderer.held(cluster.id(TWO));
    assert_eq!(heard.len(), usize::from(GROUPS), "every group has heard what the store holds");
    for (group, topic) in topics {
        let there = cluster.read(TWO, topic, 1, Duration::ZERO).await.watermark;
        assert!(there + 100 > sent, "group {group} is ordered up to {there} of {sent}");
    }
}
