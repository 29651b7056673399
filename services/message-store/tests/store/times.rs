use trunkline_testkit::MapBuilder;
use trunkline_types::{Role, TopicId};

use crate::cluster::{Cluster, bodies};

const NYC: &str = "nyc-message-store-1";
const SEA: &str = "sea-message-store-1";

/// What a store says of every message: when it was ordered, after it was asked for each of these times.
async fn times(cluster: &Cluster, store: &str, topic: TopicId, count: u64) -> Vec<u64> {
    let mut times = Vec::new();
    for id in 1..=count {
        times.push(cluster.find_time(store, topic, 0, id).await.1);
    }
    assert!(times.is_sorted() && times[0] > 0, "{store}: {times:?}");
    for (&at, id) in times.iter().zip(1..) {
        let first = 1 + times.iter().take_while(|time| **time < at).count() as u64;
        let after = 1 + times.iter().take_while(|time| **time <= at).count() as u64;
        assert_eq!(cluster.find_time(store, topic, at, 0).await.0, first, "{store}: at message {id}");
        assert_eq!(cluster.find_time(store, topic, at - 1, 0).await.0, first, "{store}: before message {id}");
        assert_eq!(cluster.find_time(store, topic, at + 1, 0).await.0, after, "{store}: after message {id}");
    }
    times
}

/// One message after the other, so that each is ordered at a time of its own; then some at once.
async fn push(cluster: &Cluster, store: &str, topics: [TopicId; 2], from: u64, upto: u64) {
    let mut pusher = cluster.pusher(store).await;
    for n in from..upto {
        pusher.push(topics[0], &bodies("a", n..n + 1)).await;
        cluster.all(store, topics[0], n + 1).await;
    }
    pusher.push(topics[1], &bodies("b", from..upto)).await;
    cluster.all(store, topics[1], upto).await;
}

#[tokio::test(start_paused = true)]
async fn every_replica_says_the_same_of_every_time_also_after_a_restart_and_a_copy() {
    let builder = MapBuilder::three_datacenters().nodes(Role::MessageStore, 1).buckets(1).groups(1, 1);
    let mut cluster = Cluster::of(builder).await;
    let topics = [cluster.orderer.create_topic("one"), cluster.orderer.create_topic("some")];
    push(&cluster, NYC, topics, 0, 12).await;
    cluster.all(SEA, topics[1], 12).await;
    let said = times(&cluster, NYC, topics[0], 12).await;
    assert!(said.windows(2).all(|pair| pair[0] < pair[1]), "{said:?}");
    assert_eq!(times(&cluster, SEA, topics[0], 12).await, said);
    cluster.crash(SEA);
    push(&cluster, NYC, topics, 12, 20).await;
    let said = [times(&cluster, NYC, topics[0], 20).await, times(&cluster, NYC, topics[1], 20).await];
    cluster.orderer.forget_facts();
    cluster.start(SEA).await;
    cluster.crash(NYC);
    cluster.start(NYC).await;
    for (topic, said) in topics.into_iter().zip(&said) {
        for store in [NYC, SEA] {
            cluster.all(store, topic, 20).await;
            assert_eq!(&times(&cluster, store, topic, 20).await, said, "{store}");
        }
    }
    push(&cluster, NYC, topics, 20, 24).await;
    cluster.all(SEA, topics[0], 24).await;
    let later = times(&cluster, SEA, topics[0], 24).await;
    assert_eq!((&later[..20], times(&cluster, NYC, topics[0], 24).await), (&said[0][..], later.clone()));
}
