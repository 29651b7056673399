use std::time::Duration;

use tokio::time::Instant;
use trunkline_testkit::process::EPOCH_MS;

use crate::cluster::{Cluster, DATACENTERS, until};
use crate::store::{Store, holds};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
const HELD: &str = "message_id_order_time_held";

/// A cluster whose stores say all to the group's leader, so that they do without the other voters.
struct Ordering {
    cluster: Cluster,
    leader: String,
    topic: u64,
    stores: Vec<Store>,
    ordered: u64,
    began: Instant,
}

impl Ordering {
    async fn new() -> Self {
        let began = Instant::now();
        let cluster = Cluster::new().await;
        let topic = cluster.create("nyc", "orders").await.unwrap().topic.unwrap().topic_id;
        let leader = cluster.leader();
        let mut stores = Vec::new();
        for datacenter in DATACENTERS {
            let mut store = Store::open(&cluster, datacenter, &leader, 0).await;
            store.report(true, vec![]).await;
            stores.push(store);
        }
        Self { cluster, leader, topic, stores, ordered: 0, began }
    }

    /// Orders one more message.
    async fn order(&mut self) {
        self.ordered += 1;
        let origin = self.stores[0].log(&self.cluster);
        for store in &mut self.stores {
            store.report(false, vec![holds(origin, self.ordered, &[(self.topic, 1)])]).await;
        }
        for store in &mut self.stores {
            store.ordered(self.ordered).await;
        }
    }

    fn set_clock(&self, datacenter: &str, offset_ms: i64) {
        self.cluster.voter(datacenter).node.process.set_clock_offset_ms(offset_ms);
    }

    fn crash(&mut self, datacenter: &str) {
        let id = self.cluster.id(datacenter);
        self.cluster.voter(datacenter).node.process.crash();
        self.cluster.voters.retain(|voter| voter.node.host.identity.node != id);
    }

    /// How far order time is ahead of the truth, in milliseconds.
    fn ahead(&self) -> f64 {
        let truth = EPOCH_MS + u64::try_from(self.began.elapsed().as_millis()).unwrap();
        self.cluster.figure(&self.leader, "message_id_order_time_ms") - truth as f64
    }

    fn is_held(&self) -> bool {
        self.cluster.figure(&self.leader, HELD) > 0.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_clock_is_100_days_ahead_does_not_move_order_time() {
    let mut ordering = Ordering::new().await;
    ordering.order().await;
    ordering.set_clock(&ordering.leader, 100 * DAY_MS);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ordering.order().await;
        assert!((-300.0..=0.0).contains(&ordering.ahead()), "{}", ordering.ahead());
    }
    assert!(!ordering.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_while_no_others_are_heard_is_not_followed_until_they_are() {
    let mut ordering = Ordering::new().await;
    ordering.order().await;
    let (first, second) = ordering.cluster.others();
    ordering.crash(&first);
    ordering.crash(&second);
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        ordering.order().await;
        assert!((-300.0..=0.0).contains(&ordering.ahead()), "a clock that goes right is followed");
    }
    ordering.set_clock(&ordering.leader, 100 * DAY_MS);
    until("it is held", || ordering.is_held()).await;
    let stood = ordering.cluster.figure(&ordering.leader, "message_id_order_time_ms");
    ordering.order().await;
    assert_eq!(ordering.cluster.figure(&ordering.leader, "message_id_order_time_ms"), stood);
    let consensus = ordering.cluster.consensus.clone();
    for datacenter in [&first, &second] {
        consensus.stop(ordering.cluster.id(datacenter));
        ordering.cluster.start(datacenter, 2).await;
    }
    until("the others are heard", || !ordering.is_held()).await;
    ordering.order().await;
    assert!((-300.0..=0.0).contains(&ordering.ahead()), "{}", ordering.ahead());
}
