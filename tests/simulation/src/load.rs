//! Clients at work: publishers by Push and by PushStream, subscribers, readers. All that they see goes to the oracle.

mod publisher;
mod reader;
mod replayer;
mod stream_publisher;
mod subscriber;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trunkline_ports::process::TaskGuard;
use trunkline_testkit::{Client, Random, eventually};
use trunkline_wire::v1::{ReadRequest, ReceiptState, pop_service};

use crate::cluster::Cluster;
use crate::oracle::{Message, Oracle, Outcome, number_of};
use crate::plan::Plan;
use crate::simulation::World;

/// A push's own deadline.
const PUSH: Duration = Duration::from_secs(5);
const AFTER_ERROR: Duration = Duration::from_millis(200);
const CREATE_MAX: Duration = Duration::from_secs(60);
/// Times that everything is read at the end.
const PASSES_MAX: usize = 20;
/// Receipts that are resolved at the end.
const RECEIPTS: usize = 30;

/// All clients of a run, until it is dropped.
pub struct Load {
    shared: Arc<Shared>,
    _tasks: Vec<TaskGuard>,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Load")
    }
}

/// What every client has.
struct Shared {
    plan: Arc<Plan>,
    oracle: Oracle,
    /// By where a client runs, and whom it calls.
    clients: Vec<Vec<Client>>,
    pushing: AtomicBool,
    world: World,
}

impl Shared {
    fn random(&self, name: &str) -> Random {
        self.world.random.fork(name)
    }

    fn is_pushing(&self) -> bool {
        self.pushing.load(Ordering::Relaxed)
    }
}

impl Load {
    /// Creates the topics and begins.
    ///
    /// # Panics
    /// If a topic cannot be created.
    pub async fn start(world: &World, cluster: &Cluster, plan: &Arc<Plan>, oracle: &Oracle) -> Self {
        let datacenters = &cluster.map().datacenters;
        let clients_of = |from: &trunkline_types::Datacenter| -> Vec<Client> {
            datacenters.iter().map(|to| cluster.client(&from.name, &to.name)).collect()
        };
        let shared = Arc::new(Shared {
            plan: plan.clone(),
            oracle: oracle.clone(),
            clients: datacenters.iter().map(clients_of).collect(),
            pushing: AtomicBool::new(true),
            world: world.clone(),
        });
        for topic in 0..plan.topics {
            let (client, name) = (&shared.clients[0][0], plan.topic(topic));
            eventually(CREATE_MAX, "a topic to be created", async || client.create_topic(&name).await.ok())
                .await;
        }
        let process = cluster.clients().process();
        let mut tasks = Vec::new();
        for subscriber in &plan.subscribers {
            let task = subscriber::run(shared.clone(), subscriber.clone());
            tasks.push(process.spawn("subscriber", task).abort_on_drop());
        }
        for replayer in &plan.replayers {
            let (pops, moves) = (replayer.clone(), replayer.clone());
            let task = process.spawn("replayer", replayer::pop(shared.clone(), pops));
            tasks.push(task.abort_on_drop());
            let task = process.spawn("mover", replayer::move_about(shared.clone(), moves));
            tasks.push(task.abort_on_drop());
        }
        for publisher in &plan.publishers {
            let publisher = publisher.clone();
            let task = if publisher.by_stream {
                process.spawn("stream-publisher", stream_publisher::run(shared.clone(), publisher))
            } else {
                process.spawn("publisher", publisher::run(shared.clone(), publisher))
            };
            tasks.push(task.abort_on_drop());
        }
        for datacenter in 0..plan.topology.datacenters.len() {
            let task = reader::run(shared.clone(), datacenter);
            tasks.push(process.spawn("reader", task).abort_on_drop());
        }
        Self { shared, _tasks: tasks }
    }

    /// No push begins any more; what is under way comes to its end by itself.
    pub fn stop_pushing(&self) {
        self.shared.pushing.store(false, Ordering::Relaxed);
    }

    pub fn push_again(&self) {
        self.shared.pushing.store(true, Ordering::Relaxed);
    }

    /// Reads every topic in every datacenter from ID 1 to the highest that was seen, until no higher one appears: what
    /// was never acknowledged may still get its ID.
    pub async fn read_everything(&self, within: Duration) {
        let shared = &self.shared;
        for _ in 0..PASSES_MAX {
            let highest: Vec<u64> = (0..shared.plan.topics).map(|topic| self.highest(topic)).collect();
            for datacenter in 0..shared.clients.len() {
                for (topic, highest) in highest.iter().enumerate() {
                    let rows = self.read(datacenter, topic, *highest, within).await;
                    shared.oracle.with(|record| record.at_the_end.insert((datacenter, topic), rows));
                }
            }
            if highest.iter().enumerate().all(|(topic, highest)| self.highest(topic) == *highest) {
                break;
            }
        }
        self.resolve_receipts().await;
    }

    /// The highest ID seen so far.
    fn highest(&self, topic: usize) -> u64 {
        self.shared.oracle.with(|record| {
            let ids = record.named.keys().filter(|name| name.topic == topic).map(|name| name.id);
            ids.max().unwrap_or_default()
        })
    }

    /// What a datacenter reads of a topic, given time to come to `highest`.
    async fn read(
        &self,
        datacenter: usize,
        topic: usize,
        highest: u64,
        within: Duration,
    ) -> Vec<(u64, Message)> {
        let client = &self.shared.clients[datacenter][datacenter];
        let (mut rows, mut from) = (Vec::new(), 1);
        let deadline = tokio::time::Instant::now() + within;
        while from <= highest && tokio::time::Instant::now() < deadline {
            let request =
                ReadRequest { topic: self.shared.plan.topic(topic), from, ..ReadRequest::default() };
            let Ok(response) = client.call(pop_service::READ, &request).await else {
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            };
            for received in &response.messages {
                self.shared.oracle.receives(topic, received, "the last read");
                let payload =
                    received.message.as_ref().map(|message| &message.payload[..]).unwrap_or_default();
                number_of(payload).into_iter().for_each(|message| rows.push((received.message_id, message)));
            }
            if response.messages.is_empty() {
                tokio::time::sleep(AFTER_ERROR).await;
            }
            from = response.next.max(from);
        }
        rows.retain(|(id, _)| *id <= highest);
        rows
    }

    async fn resolve_receipts(&self) {
        let shared = &self.shared;
        let receipts: Vec<(Message, String)> = shared.oracle.with(|record| {
            let receipt = |(message, push): (Message, &crate::oracle::Push)| match &push.outcome {
                Outcome::Acked(acked) if !acked.receipt.is_empty() => Some((message, acked.receipt.clone())),
                _ => None,
            };
            record.messages().filter_map(receipt).collect()
        });
        let random = shared.random("receipts");
        let mut asked = BTreeSet::new();
        for _ in 0..RECEIPTS {
            let Some((message, receipt)) =
                random.pick(&receipts).filter(|(message, _)| asked.insert(*message))
            else {
                continue;
            };
            let datacenter = crate::plan::index(&random, shared.clients.len());
            if let Ok(answer) = shared.clients[datacenter][datacenter].receipt(receipt).await
                && answer.state() != ReceiptState::Unspecified
            {
                shared.oracle.resolved(*message, answer.state(), answer.message_id, datacenter);
            }
        }
    }
}
