use std::time::Duration;

use trunkline_message_store::Options;
use trunkline_testkit::MapBuilder;

use crate::cluster::Cluster;

/// Six stores, the orderer and the network on one thread: the simulated time that passes says that nothing waits for a
/// timer, however much is pushed.
#[tokio::test(start_paused = true)]
async fn many_topics_at_once_wait_for_nothing_but_disks_and_links() {
    let builder = MapBuilder::three_datacenters().buckets(256).groups(4, 4);
    let cluster = Cluster::with(builder, Options::default(), Duration::from_millis(1)).await;
    let topics: Vec<_> = (0..200).map(|n| cluster.orderer.create_topic(&format!("t{n}"))).collect();
    let mut pushers = Vec::new();
    for store in cluster.stores() {
        pushers.push(cluster.pusher(&store).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    let body = "x".repeat(5_000);
    for round in 0..ROUNDS {
        for (at, pusher) in pushers.iter_mut().enumerate() {
            for n in 0..10 {
                let topic = topics[(round * 7 + at * 31 + n * 13) % topics.len()];
                pusher
                    .send(topic, &[format!("{round}-{at}-{n}-{body}")], trunkline_wire::v1::AckLevel::Ordered)
                    .await;
            }
        }
        for pusher in &mut pushers {
            pusher.answers(20).await;
        }
    }
    let each = began.elapsed() / u32::try_from(ROUNDS).unwrap();
    assert!(each < Duration::from_millis(170), "a round of ORDERED pushes takes {each:?}");
    let syncs: u64 = cluster.stores().iter().map(|name| cluster.disk(name).syncs()).sum();
    assert!(syncs < ROUNDS as u64 * 6 * 12, "{syncs} fsyncs: what comes together is written together");
}

const ROUNDS: usize = 30;
