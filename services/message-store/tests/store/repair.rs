//! Records that a disk has spoiled.

use std::time::Duration;

use trunkline_message_store::SPACES;
use trunkline_ports::Space;
use trunkline_testkit::storage::Damage;
use trunkline_testkit::{MapBuilder, eventually};
use trunkline_types::TopicId;
use trunkline_wire::Code;
use trunkline_wire::internal::ReadResponse;

use crate::cluster::{Cluster, LONG, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";
const MCI: &str = "mci-message-store-1";
const DAMAGES: [Damage; 3] = [Damage::Flipped, Damage::Unreadable, Damage::Lost];

fn records() -> Space {
    *SPACES.iter().find(|space| space.name == "records").unwrap()
}

async fn with_ten(builder: MapBuilder, stores: &[&str]) -> (Cluster, TopicId) {
    let mut cluster = Cluster::of(builder).await;
    for store in cluster.stores() {
        if !stores.contains(&store.as_str()) {
            cluster.crash(&store);
        }
    }
    let topic = cluster.orderer.create_topic("t");
    cluster.pusher(ONE).await.push(topic, &bodies("a", 0..10)).await;
    for store in stores {
        cluster.all(store, topic, 10).await;
    }
    (cluster, topic)
}

/// Spoils some records of a store, which has nothing in memory then.
async fn spoil(cluster: &mut Cluster, store: &str, which: &[&str], damage: Damage) {
    cluster.crash(store);
    for which in which {
        assert_eq!(cluster.disk(store).damage(records(), which.as_bytes(), damage), 1);
    }
    cluster.start(store).await;
}

fn told(read: &ReadResponse) -> Vec<&str> {
    read.records.iter().map(|record| std::str::from_utf8(&record.body).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_fetched_anew_and_what_comes_before_it_does_not_wait() {
    for damage in DAMAGES {
        let (mut cluster, topic) = with_ten(MapBuilder::of(&["nyc"]), &[ONE, TWO]).await;
        spoil(&mut cluster, TWO, &["a-4", "a-7"], damage).await;
        let read = eventually(LONG, "a read", async || {
            let read = cluster.read(TWO, topic, 1, Duration::ZERO).await;
            (!read.records.is_empty()).then_some(read)
        })
        .await;
        assert_eq!(told(&read), ["a-0", "a-1", "a-2", "a-3"], "{damage:?}");
        assert_eq!(told(&cluster.read(TWO, topic, 5, Duration::ZERO).await), ["a-4"]);
        assert_eq!(told(&cluster.read(TWO, topic, 5, Duration::ZERO).await), ["a-4", "a-5", "a-6"]);
        assert_eq!(cluster.all(TWO, topic, 10).await, bodies("a", 0..10));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(cluster.figure(TWO, "records_repaired"), 2.0);
        // It stays so, without anybody else.
        cluster.crash(ONE);
        cluster.crash(TWO);
        cluster.start(TWO).await;
        assert_eq!(cluster.all(TWO, topic, 10).await, bodies("a", 0..10), "{damage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_corrupt_on_every_replica_is_lost() {
    for damage in DAMAGES {
        let (mut cluster, topic) = with_ten(MapBuilder::of(&["nyc"]), &[ONE, TWO]).await;
        spoil(&mut cluster, TWO, &["a-4"], damage).await;
        cluster.crash(ONE);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let unknown = cluster.try_read(TWO, topic, 5, Duration::ZERO).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unavailable, "{unknown}");
        cluster.start(ONE).await;
        spoil(&mut cluster, ONE, &["a-4"], damage).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        for store in [ONE, TWO] {
            let lost = cluster.try_read(store, topic, 5, Duration::ZERO).await.unwrap_err();
            assert_eq!(lost.code(), Code::DataLoss, "{lost}");
            assert!(lost.message().contains("message 5 of"), "{lost}");
            assert_eq!(cluster.read(store, topic, 1, Duration::ZERO).await.records.len(), 4);
            assert_eq!(cluster.read(store, topic, 6, Duration::ZERO).await.records.len(), 5);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_last_record_is_spoiled_starts_and_lacks_nothing() {
    for damage in DAMAGES {
        for store in [ONE, TWO] {
            let (mut cluster, topic) = with_ten(MapBuilder::of(&["nyc"]), &[ONE, TWO]).await;
            spoil(&mut cluster, store, &["a-9"], damage).await;
            cluster.pusher(ONE).await.push(topic, &bodies("b", 0..5)).await;
            let expected = [bodies("a", 0..10), bodies("b", 0..5)].concat();
            assert_eq!(cluster.all(store, topic, 15).await, expected, "{damage:?} at {store}");
            eventually(LONG, "a repair", async || {
                (cluster.figure(store, "records_repaired") > 0.0).then_some(())
            })
            .await;
            cluster.assert_nobody_gave_up();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_mends_what_it_cannot_send() {
    for damage in DAMAGES {
        let (mut cluster, topic) = with_ten(MapBuilder::of(&["nyc", "mci"]), &[ONE, MCI]).await;
        spoil(&mut cluster, ONE, &["a-4"], damage).await;
        cluster.start(TWO).await;
        assert_eq!(cluster.all(TWO, topic, 10).await, bodies("a", 0..10));
        eventually(LONG, "a repair", async || (cluster.figure(ONE, "records_repaired") > 0.0).then_some(()))
            .await;
        assert_eq!(cluster.all(ONE, topic, 10).await, bodies("a", 0..10));
    }
}
