use std::time::Duration;

use trunkline_testkit::fixture::{SimulatedNode, node};
use trunkline_types::{LogName, Role};
use trunkline_wire::internal::{LogReport, Run, fact};

use crate::cluster::{Cluster, DATACENTERS};
use crate::store::{Store, holds};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
const PRODUCER: [u8; 16] = [7; 16];

/// One record of the producer's.
fn produced(log: LogName, from: u64, topic_id: u64, producer_sequence: u64) -> LogReport {
    let run = Run { topic_id, count: 1, producer_id: PRODUCER.to_vec().into(), producer_sequence };
    LogReport { runs: vec![run], ..holds(log, from, &[(topic_id, 1)]) }
}

/// A cluster and all its stores, who say everything to the group's leader.
struct Ordering {
    cluster: Cluster,
    leader: String,
    topic: u64,
    stores: Vec<Store>,
    held: u64,
}

impl Ordering {
    async fn new() -> Self {
        let cluster = Cluster::new().await;
        let topic = cluster.create("nyc", "orders").await.unwrap().topic.unwrap().topic_id;
        let (leader, mut stores) = (cluster.leader(), Vec::new());
        for place in 0..cluster.map.nodes_of(Role::MessageStore).count() {
            let mut store = Self::open(&cluster, &leader, place, 0, 1).await;
            store.report(true, vec![]).await;
            stores.push(store);
        }
        Self { cluster, leader, topic, stores, held: 1 }
    }

    async fn open(cluster: &Cluster, leader: &str, place: usize, facts_from: u64, session: u64) -> Store {
        let number = u16::try_from(place / DATACENTERS.len() + 1).unwrap();
        let node = node(Role::MessageStore, &DATACENTERS[place % DATACENTERS.len()].into(), number);
        let node = SimulatedNode::start(&cluster.network, &cluster.map, &node, 1);
        Store::open_on(node, cluster, leader, facts_from, session).await.unwrap()
    }

    fn log(&self) -> LogName {
        self.stores[0].log(&self.cluster)
    }

    /// Every store has one more record of the producer's on disk; its ID, 0 for a duplicate.
    async fn push(&mut self, sequence: u64) -> u64 {
        self.decide(produced(self.log(), self.held, self.topic, sequence)).await
    }

    /// The same of a record without a producer: order time goes on with it.
    async fn others_push(&mut self) {
        self.decide(holds(self.log(), self.held, &[(self.topic, 1)])).await;
    }

    async fn decide(&mut self, report: LogReport) -> u64 {
        self.held += 1;
        for store in &mut self.stores {
            store.report(false, vec![report.clone()]).await;
        }
        let decided = usize::try_from(self.held - 1).unwrap();
        for store in &mut self.stores {
            while runs(store).len() < decided {
                store.told(store.applied + 1).await;
            }
        }
        *runs(&self.stores[0]).last().unwrap()
    }

    /// For some seconds all stores but `silent` say that they know everything and have nothing more.
    async fn seconds_pass(&mut self, silent: Option<usize>) {
        let (log, held) = (self.log(), self.held);
        for _ in 0..5 {
            let speaking = self.stores.iter().enumerate().filter(|(place, _)| Some(*place) != silent);
            for (_, store) in speaking {
                store.held(store.applied).await;
                store.digest(&[(log, held)]).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// All voters' clocks; and they have heard of each other's.
    async fn set_clocks(&self, offset_ms: i64) {
        for datacenter in DATACENTERS {
            self.cluster.voter(datacenter).node.process.set_clock_offset_ms(offset_ms);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// First IDs of the runs that a store was told of; each is of one record.
fn runs(store: &Store) -> Vec<u64> {
    let ordered = store.facts.iter().filter_map(|(_, fact)| match &fact.what {
        Some(fact::What::Ordered(ordered)) => Some(&ordered.runs),
        _ => None,
    });
    ordered.flatten().map(|run| run.first_id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_producer_is_forgotten_two_weeks_after_its_last_push_and_not_while_a_store_is_away() {
    let mut ordering = Ordering::new().await;
    assert_eq!([ordering.push(5).await, ordering.push(5).await], [1, 0]);
    ordering.seconds_pass(None).await;
    assert_eq!(ordering.push(5).await, 0, "after seconds it is known");
    ordering.set_clocks(15 * DAY_MS).await;
    ordering.push(6).await;
    ordering.set_clocks(16 * DAY_MS).await;
    ordering.seconds_pass(None).await;
    assert_eq!(ordering.push(5).await, 0, "a day after the last push it is known");
    ordering.set_clocks(40 * DAY_MS).await;
    ordering.others_push().await;
    let last = ordering.stores.len() - 1;
    ordering.stores[last].fall_silent();
    tokio::time::sleep(Duration::from_secs(5)).await;
    ordering.seconds_pass(Some(last)).await;
    let (log, held) = (ordering.log(), ordering.held);
    let away = &mut ordering.stores[last];
    let (known, facts_from) = (std::mem::take(&mut away.facts), away.applied + 1);
    let mut back = Ordering::open(&ordering.cluster, &ordering.leader, last, facts_from, 9).await;
    back.facts = known;
    back.report(true, vec![LogReport { held, ..holds(log, held, &[]) }]).await;
    ordering.stores[last] = back;
    assert_eq!(ordering.push(5).await, 0, "one store may have had something of it");
    ordering.set_clocks(60 * DAY_MS).await;
    ordering.others_push().await;
    ordering.seconds_pass(None).await;
    let told = |store: &Store| {
        store.facts.iter().any(|(_, fact)| matches!(&fact.what, Some(fact::What::ProducersForgotten(_))))
    };
    assert_ne!(ordering.push(5).await, 0, "nobody remembers it");
    assert!(ordering.stores.iter().all(told));
}
