//! Publishers and consumers that remember what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_ports::Process;
use trunkline_ports::process::TaskGuard;
use trunkline_types::invariants::{ACKED_IS_ORDERED, HONEST_ERRORS, ONE_ORDER};
use trunkline_wire::status::is_not_stored;
use trunkline_wire::v1::{AckLevel, ReceiptState};

use crate::client::Client;
use crate::wait::eventually;

/// A push's own deadline.
const PUSH: Duration = Duration::from_secs(5);
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// Until everything acknowledged is ordered and popped once all is well again.
const SETTLE_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct Told {
    /// Acknowledged payloads with their receipts.
    acked: BTreeMap<String, String>,
    /// May have been stored.
    unknown: BTreeSet<String>,
    /// Certainly not stored.
    refused: BTreeSet<String>,
    /// Per consumer, what each message ID was.
    popped: BTreeMap<String, BTreeMap<u64, String>>,
}

/// One publisher and one consumer per datacenter, on one topic, until it is dropped.
#[derive(Debug)]
pub struct Load {
    clients: Vec<Client>,
    told: Arc<Mutex<Told>>,
    pushing: Arc<AtomicBool>,
    tasks: Vec<TaskGuard>,
}

/// Who hears what happens, line by line.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// What one publisher or consumer has.
struct Side {
    client: Client,
    topic: String,
    told: Arc<Mutex<Told>>,
    tell: Tell,
}

impl Load {
    /// Creates the topic and a subscription for each client, named as the client is, and begins. Each publisher pauses
    /// for `pace` after a push.
    ///
    /// # Panics
    /// If the topic or a subscription cannot be created.
    pub async fn start(
        process: &Process,
        topic: &str,
        clients: &[Client],
        pace: Duration,
        tell: Tell,
    ) -> Self {
        let mut load = Self {
            clients: clients.to_vec(),
            told: Arc::default(),
            pushing: Arc::new(AtomicBool::new(true)),
            tasks: Vec::new(),
        };
        let first = &clients[0];
        eventually(SETTLE_MAX, "the topic to be created", async || first.create_topic(topic).await.ok())
            .await;
        for client in clients {
            let subscribe = async || client.subscribe(topic, client.name()).await.ok();
            eventually(SETTLE_MAX, "the subscription to be created", subscribe).await;
        }
        let numbers = Arc::new(AtomicU64::new(0));
        for client in clients {
            let side = || Side {
                client: client.clone(),
                topic: topic.to_owned(),
                told: load.told.clone(),
                tell: tell.clone(),
            };
            let publish = publish(side(), load.pushing.clone(), numbers.clone(), pace);
            let consume = consume(side());
            load.tasks.push(process.spawn("publish", publish).abort_on_drop());
            load.tasks.push(process.spawn("consume", consume).abort_on_drop());
        }
        load
    }

    /// How many pushes were acknowledged so far.
    pub fn acked(&self) -> usize {
        lock(&self.told).acked.len()
    }

    /// Waits until so many more pushes are acknowledged.
    pub async fn wait_for_acks(&self, more: usize) {
        let target = self.acked() + more;
        eventually(SETTLE_MAX, "pushes to be acknowledged", async || (self.acked() >= target).then_some(()))
            .await;
    }

    /// Waits until consumers have got `more` further messages between them.
    pub async fn wait_for_pops(&self, more: usize) {
        let popped = || lock(&self.told).popped.values().map(BTreeMap::len).sum::<usize>();
        let target = popped() + more;
        eventually(SETTLE_MAX, "messages to be popped", async || (popped() >= target).then_some(())).await;
    }

    /// Ends the pushing, waits until all that was acknowledged has its ID and was popped everywhere, and checks
    /// that nothing is missing, nothing came under two IDs and all consumers have seen one sequence.
    ///
    /// # Panics
    /// If any of that does not hold.
    pub async fn settle(self) {
        self.pushing.store(false, Ordering::Relaxed);
        let acked = lock(&self.told).acked.clone();
        let highest = self.highest_id(&acked).await;
        eventually(SETTLE_MAX, "every consumer to pop everything", async || {
            let told = lock(&self.told);
            let done = self.clients.iter().all(|client| {
                told.popped.get(client.name()).is_some_and(|popped| popped.contains_key(&highest))
            });
            done.then_some(())
        })
        .await;
        check(&lock(&self.told), &acked, &self.clients, highest);
    }

    /// The highest ID of an acknowledged message.
    async fn highest_id(&self, acked: &BTreeMap<String, String>) -> u64 {
        let mut highest = 0;
        for (payload, receipt) in acked {
            let client = &self.clients[payload.len() % self.clients.len()];
            let what = format!("an ID for {payload}");
            let id = eventually(SETTLE_MAX, &what, async || {
                let answer = client.receipt(receipt).await.ok()?;
                assert_ne!(answer.state(), ReceiptState::NeverStored, "{payload} was acknowledged");
                (answer.state() == ReceiptState::Ordered).then_some(answer.message_id)
            });
            highest = highest.max(id.await);
        }
        highest
    }
}

fn check(told: &Told, acked: &BTreeMap<String, String>, clients: &[Client], highest: u64) {
    let first = &told.popped[clients[0].name()];
    let upto = |popped: &BTreeMap<u64, String>| -> Vec<(u64, String)> {
        popped.range(..=highest).map(|(id, payload)| (*id, payload.clone())).collect()
    };
    let sequence = upto(first);
    assert!(sequence.iter().map(|(id, _)| *id).eq(1..=highest), "{ONE_ORDER}: IDs are dense from 1");
    for client in clients {
        assert_eq!(upto(&told.popped[client.name()]), sequence, "{ONE_ORDER}: {}", client.name());
    }
    let payloads: BTreeSet<&String> = sequence.iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads.len(), sequence.len(), "{ACKED_IS_ORDERED}: a message has two IDs");
    let missing: Vec<&String> = acked.keys().filter(|payload| !payloads.contains(payload)).collect();
    assert!(missing.is_empty(), "{ACKED_IS_ORDERED}: acknowledged and missing: {missing:?}");
    let refused: Vec<&String> = told.refused.iter().filter(|payload| payloads.contains(payload)).collect();
    assert!(refused.is_empty(), "{HONEST_ERRORS}: refused as not stored, and delivered: {refused:?}");
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn publish(side: Side, pushing: Arc<AtomicBool>, numbers: Arc<AtomicU64>, pace: Duration) {
    let Side { client, topic, told, tell } = side;
    while pushing.load(Ordering::Relaxed) {
        let payload = format!("{} {}", client.name(), numbers.fetch_add(1, Ordering::Relaxed));
        let pushed = client.push(&topic, &payload, AckLevel::Local, PUSH).await;
        let pause = match pushed {
            Ok(result) => {
                tell(format!("{payload} is stored"));
                lock(&told).acked.insert(payload, result.receipt);
                pace
            }
            Err(status) if is_not_stored(&status) => {
                tell(format!("{payload} is not stored: {}", status.message()));
                lock(&told).refused.insert(payload);
                AFTER_ERROR
            }
            Err(status) => {
                tell(format!("{payload} may be stored: {}", status.message()));
                lock(&told).unknown.insert(payload);
                AFTER_ERROR
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn consume(side: Side) {
    let Side { client, topic, told, tell } = side;
    let mut previous = Vec::new();
    loop {
        let response = match client.pop(&topic, client.name(), previous.clone()).await {
            Ok(response) => response,
            Err(status) => {
                tell(format!("{} cannot pop: {}", client.name(), status.message()));
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        previous = response.deliveries.iter().map(|delivery| delivery.token.clone()).collect();
        let mut told = lock(&told);
        let popped = told.popped.entry(client.name().to_owned()).or_default();
        for received in response.deliveries.into_iter().filter_map(|delivery| delivery.message) {
            let payload = received.message.unwrap_or_default().payload;
            let payload = String::from_utf8_lossy(&payload).into_owned();
            tell(format!("{} pops {}: {payload}", client.name(), received.message_id));
            let before = popped.insert(received.message_id, payload.clone());
            assert!(
                before.is_none_or(|before| before == payload),
                "{ONE_ORDER}: ID {} has two contents",
                received.message_id
            );
        }
    }
}
