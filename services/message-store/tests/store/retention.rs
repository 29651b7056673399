//! What is kept no more: readers hear of it, it leaves the disks, and whoever lacks it passes over it.

use std::time::Duration;

use trunkline_message_store::Options;
use trunkline_ports::Space;
use trunkline_testkit::{MapBuilder, eventually};
use trunkline_types::{Role, TopicId};
use trunkline_wire::internal::appended::What;
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, LONG, bodies};

const NYC: &str = "nyc-message-store-1";
const MCI: &str = "mci-message-store-1";
const SEA: &str = "sea-message-store-1";

fn rows(cluster: &Cluster, store: &str, space: &'static str) -> usize {
    let space = if space == "records" { Space::of_payloads(space) } else { Space::new(space) };
    cluster.disk(store).reopen().len(space)
}

/// Waits until a store's disk has so many records.
async fn has_records(cluster: &Cluster, store: &str, count: usize) {
    let what = format!("{count} records on the disk of {store}");
    eventually(LONG, &what, async || (rows(cluster, store, "records") == count).then_some(())).await;
}

async fn three_stores() -> Cluster {
    Cluster::of(MapBuilder::three_datacenters().nodes(Role::MessageStore, 1)).await
}

/// Pushes, and waits until every live store can read it.
async fn fill(cluster: &Cluster, topic: TopicId, name: &str, range: std::ops::Range<u64>, upto: u64) {
    cluster.pusher(NYC).await.push(topic, &bodies(name, range)).await;
    for store in cluster.stores().iter().filter(|store| cluster.is_alive(store)) {
        cluster.all(store, topic, upto).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_trimmed_is_expired_for_readers_and_leaves_every_disk() {
    let mut cluster = three_stores().await;
    let (topic, other) = (cluster.orderer.create_topic("t"), cluster.orderer.create_topic("u"));
    let stored = cluster.pusher(NYC).await.push(topic, &bodies("a", 0..100)).await;
    fill(&cluster, other, "b", 0..100, 100).await;
    cluster.all(SEA, topic, 100).await;
    let waiting = cluster.read(SEA, topic, 61, Duration::ZERO).await;
    assert_eq!((waiting.earliest, waiting.first_id, waiting.records.len()), (1, 61, 40));
    cluster.orderer.trim(topic, 61);
    for store in cluster.stores() {
        has_records(&cluster, &store, 140).await;
        let read = cluster.read(&store, topic, 5, Duration::ZERO).await;
        assert_eq!((read.earliest, read.first_id, read.records.len()), (61, 61, 40), "{store}");
        assert_eq!(read.records[0].body, "a-60", "{store}");
        assert_eq!(cluster.all(&store, other, 100).await, bodies("b", 0..100), "{store}");
    }
    cluster.crash(SEA);
    cluster.start(SEA).await;
    for store in [NYC, SEA] {
        let read = cluster.read(store, topic, 1, Duration::from_secs(1)).await;
        assert_eq!((read.earliest, read.watermark), (61, 100), "{store}");
        for (n, id, expired) in [(7_usize, 8, true), (80, 81, false)] {
            let resolved = cluster.resolve(store, topic, &stored[n], &format!("a-{n}")).await;
            assert_eq!((resolved.on_disk, resolved.expired), (!expired, expired), "{store}, {n}");
            assert!(expired || resolved.message_id == id, "{store}, {n}");
        }
    }
    cluster.orderer.trim(topic, 101);
    let read = cluster.read(MCI, topic, 100, Duration::from_secs(5)).await;
    assert!(read.earliest >= 100, "nobody waits for what is gone");
    has_records(&cluster, SEA, 100).await;
    fill(&cluster, topic, "c", 0..1, 0).await;
    let read = cluster.read(SEA, topic, 1, Duration::from_secs(5)).await;
    assert_eq!((read.earliest, read.first_id, read.watermark), (101, 101, 101));
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn where_records_are_still_missing_a_reader_hears_of_a_trim_too() {
    let cluster = three_stores().await;
    let topic = cluster.orderer.create_topic("t");
    fill(&cluster, topic, "a", 0..10, 10).await;
    cluster.cut_off("sea");
    cluster.pusher(NYC).await.push(topic, &bodies("b", 0..5)).await;
    eventually(LONG, "the index at sea", async || {
        (cluster.read(SEA, topic, 11, Duration::ZERO).await.indexed == 15).then_some(())
    })
    .await;
    // Sea was declared lost: what it lacks may go.
    cluster.orderer.trim(topic, 14);
    let read = eventually(LONG, "the trim at sea", async || {
        let read = cluster.read(SEA, topic, 12, Duration::from_secs(20)).await;
        (read.earliest == 14).then_some(read)
    })
    .await;
    assert_eq!((read.first_id, read.watermark, read.records.len()), (14, 13, 0));
    cluster.network.heal_all();
    let read = cluster.read(SEA, topic, 15, Duration::from_secs(20)).await;
    assert_eq!((read.records.len(), read.watermark), (1, 15), "the rest comes, without what is gone");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_passes_over_what_is_gone_and_nothing_else() {
    let mut cluster = three_stores().await;
    let (topic, other) = (cluster.orderer.create_topic("t"), cluster.orderer.create_topic("u"));
    fill(&cluster, topic, "a", 0..20, 20).await;
    cluster.crash(SEA);
    for n in 0..30 {
        fill(&cluster, topic, "b", n..n + 1, 21 + n).await;
        fill(&cluster, other, "c", n..n + 1, 1 + n).await;
    }
    cluster.orderer.trim(topic, 41);
    has_records(&cluster, NYC, 40).await;
    has_records(&cluster, MCI, 40).await;
    cluster.start(SEA).await;
    has_records(&cluster, SEA, 40).await;
    assert_eq!(cluster.all(SEA, other, 30).await, bodies("c", 0..30));
    let read = cluster.read(SEA, topic, 1, Duration::from_secs(5)).await;
    assert_eq!((read.earliest, read.first_id, read.watermark, read.records.len()), (41, 41, 50, 10));
    assert_eq!(cluster.figure(SEA, "records_skipped"), 20.0);
    assert_eq!(cluster.figure(SEA, "records_repaired") + cluster.figure(NYC, "records_repaired"), 0.0);
    // It goes on, also after a restart, from where it really is.
    cluster.crash(SEA);
    cluster.start(SEA).await;
    fill(&cluster, topic, "d", 0..5, 0).await;
    let read = cluster.read(SEA, topic, 55, Duration::from_secs(5)).await;
    assert_eq!(read.records.len(), 1);
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_copies_the_index_learns_what_is_gone_from_it() {
    let mut cluster = three_stores().await;
    let (topic, other) = (cluster.orderer.create_topic("t"), cluster.orderer.create_topic("u"));
    let gone = cluster.orderer.create_topic("v");
    fill(&cluster, topic, "a", 0..10, 10).await;
    cluster.crash(SEA);
    fill(&cluster, gone, "g", 0..10, 10).await;
    for n in 0..20 {
        fill(&cluster, topic, "b", n..n + 1, 11 + n).await;
        fill(&cluster, other, "c", n..n + 1, 1 + n).await;
    }
    cluster.orderer.trim(topic, 25);
    let deleted = cluster.orderer.delete_topic(gone);
    cluster.orderer.everywhere(gone, deleted);
    has_records(&cluster, NYC, 26).await;
    has_records(&cluster, MCI, 26).await;
    cluster.orderer.forget_facts();
    cluster.start(SEA).await;
    has_records(&cluster, SEA, 26).await;
    assert_eq!(cluster.all(SEA, other, 20).await, bodies("c", 0..20));
    let read = cluster.read(SEA, topic, 1, Duration::from_secs(5)).await;
    assert_eq!((read.earliest, read.watermark, read.records.len()), (25, 30, 6));
    assert!(cluster.read(SEA, gone, 1, Duration::ZERO).await.topic_deleted);
    fill(&cluster, topic, "d", 0..3, 0).await;
    assert_eq!(cluster.read(SEA, topic, 33, Duration::from_secs(5)).await.records.len(), 1);
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn of_a_deleted_topic_nothing_is_left_once_every_datacenter_knows_and_its_stragglers_go_too() {
    let mut cluster = three_stores().await;
    let (first, other) = (cluster.orderer.create_topic("t"), cluster.orderer.create_topic("u"));
    fill(&cluster, first, "a", 0..50, 50).await;
    fill(&cluster, other, "b", 0..5, 5).await;
    let deleted = cluster.orderer.delete_topic(first);
    let second = cluster.orderer.create_topic("t");
    assert_ne!(first, second);
    fill(&cluster, second, "c", 0..5, 5).await;
    assert_eq!(rows(&cluster, NYC, "records"), 60, "not every datacenter knows");
    cluster.orderer.everywhere(first, deleted);
    for store in cluster.stores() {
        has_records(&cluster, &store, 10).await;
        let read = cluster.read(&store, first, 1, Duration::ZERO).await;
        assert!(read.topic_deleted && !read.unknown_topic, "{store}");
        assert_eq!(cluster.all(&store, second, 5).await, bodies("c", 0..5), "{store}");
        assert_eq!(rows(&cluster, &store, "marks"), 2, "{store}");
    }
    // A push server that has not heard of it: its messages are decided to be none, and go.
    cluster.crash(MCI);
    cluster.start(MCI).await;
    let mut pusher = cluster.pusher(MCI).await;
    pusher.send(first, &bodies("late", 0..1), AckLevel::Ordered).await;
    assert!(matches!(pusher.answers(1).await[0].1, What::Refused(_)), "a coordinator that knows refuses");
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn records_that_are_no_message_go_once_every_datacenter_knows_that() {
    let cluster = three_stores().await;
    let (topic, other) = (cluster.orderer.create_topic("t"), cluster.orderer.create_topic("u"));
    fill(&cluster, other, "b", 0..5, 5).await;
    // The straggler is on disk before the deletion is known, and decided after it.
    cluster.orderer.stop(true);
    let mut pusher = cluster.pusher(NYC).await;
    pusher.send(topic, &bodies("late", 0..3), AckLevel::Ordered).await;
    for store in cluster.stores() {
        has_records(&cluster, &store, 8).await;
    }
    let deleted = cluster.orderer.delete_topic(topic);
    cluster.orderer.stop(false);
    let answers = pusher.answers(6).await;
    let without = answers.iter().filter(|(_, what)| matches!(what, What::Ordered(o) if o.message_id == 0));
    assert_eq!(without.count(), 3);
    cluster.orderer.everywhere(topic, deleted);
    cluster.orderer.everywhere(topic, deleted + 1);
    for store in cluster.stores() {
        has_records(&cluster, &store, 5).await;
        eventually(LONG, "no voids", async || (rows(&cluster, &store, "voids") == 0).then_some(())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_says_how_much_of_a_topic_is_beyond_its_bytes_also_after_a_restart() {
    let options = Options { recent_records_bytes: 300_000, ..Options::default() };
    let builder = MapBuilder::three_datacenters().nodes(Role::MessageStore, 1);
    let mut cluster = Cluster::with(builder, options, Duration::from_millis(1)).await;
    let topic = cluster.orderer.create_topic("t");
    cluster.orderer.limit_bytes(topic, 1 << 20);
    let body = |n: u64| format!("{n:01024}");
    let mut pusher = cluster.pusher(NYC).await;
    for n in 0..40 {
        pusher.push(topic, &(n * 50..n * 50 + 50).map(body).collect::<Vec<_>>()).await;
    }
    let beyond = async |cluster: &Cluster, store: &str, least: u64| {
        let (id, what) = (cluster.id(store), format!("what {store} says"));
        eventually(LONG, &what, async || {
            let held = cluster.orderer.topic_held(id, topic)?;
            (held.readable == 2_001 && held.beyond >= least).then_some(held.beyond)
        })
        .await
    };
    for store in [NYC, SEA] {
        let beyond = beyond(&cluster, store, 900).await;
        let kept = (2_001 - beyond) * 1_024;
        assert!((1 << 20..(1 << 20) + 34_000).contains(&kept), "{store} would keep {kept} bytes");
    }
    cluster.crash(SEA);
    cluster.start(SEA).await;
    cluster.orderer.trim(topic, 900);
    beyond(&cluster, SEA, 900).await;
    let read = cluster.read(SEA, topic, 1, Duration::ZERO).await;
    assert_eq!(read.earliest, 900);
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_of_records_that_are_gone_is_merged_into_one_row() {
    let mut cluster = three_stores().await;
    let topic = cluster.orderer.create_topic("t");
    for n in 0..60 {
        fill(&cluster, topic, "a", n..n + 1, n + 1).await;
    }
    assert_eq!(rows(&cluster, NYC, "orders"), 60);
    cluster.orderer.trim(topic, 51);
    for store in cluster.stores() {
        has_records(&cluster, &store, 10).await;
        eventually(LONG, "few rows", async || (rows(&cluster, &store, "orders") == 11).then_some(())).await;
        assert!(rows(&cluster, &store, "runs") <= 12, "{store}: {}", rows(&cluster, &store, "runs"));
        assert_eq!(rows(&cluster, &store, "index"), 10, "{store}");
    }
    for store in cluster.stores() {
        cluster.crash(&store);
    }
    for store in cluster.stores() {
        cluster.start(&store).await;
    }
    fill(&cluster, topic, "b", 0..5, 0).await;
    for store in cluster.stores() {
        let read = cluster.read(&store, topic, 65, Duration::from_secs(5)).await;
        assert_eq!((read.records.len(), read.earliest), (1, 51), "{store}");
    }
    cluster.assert_nobody_gave_up();
}
