//! One running node: its identity, its directory, its listener, and from the first map on its service.

mod open;
mod services;
mod starting;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use trunkline_ports::{Host, Identity};
use trunkline_runtime::{OsProcess, Shutdown};
use trunkline_storage::{Directory, RocksStorage, SharedMemory};
use trunkline_transport::{Listener, Wan};
use trunkline_types::{ClusterMap, DatacenterName, Role};
use trunkline_wire::internal::GetStatusResponse;

use crate::front::{Front, Parts};
use crate::known_map::RoundTrips;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::refusal::Refusal;

/// What one node is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) role: Role,
    pub(crate) datacenter: DatacenterName,
    /// For people: `nyc-store-1`.
    pub(crate) name: String,
    /// Where its internal listener is, as bound and as other nodes reach it.
    pub(crate) listen: String,
    pub(crate) advertise: String,
    /// Of stateful roles.
    pub(crate) data: Option<std::path::PathBuf>,
}

/// What all nodes of a process share.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) cluster_name: String,
    pub(crate) seeds: Vec<String>,
    pub(crate) options: Arc<Options>,
    pub(crate) memory: SharedMemory,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wan: Option<Arc<Wan>>,
    pub(crate) round_trips: Option<RoundTrips>,
    /// Whether calls make spans.
    pub(crate) traced: bool,
    /// What other nodes of the process know already.
    pub(crate) newest_map: Option<Arc<ClusterMap>>,
}

/// How far a node has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits for a map, or its service is being started.
    Starting,
    /// There is a map, and it has no work for this node yet: it is new.
    Waiting,
    Started,
    Failed(Refusal),
}

/// Ends with [`Node::stop`] or [`Node::kill`].
pub(crate) struct Node {
    host: Host,
    process: OsProcess,
    shutdown: Shutdown,
    listener: Listener,
    storage: Option<Arc<RocksStorage>>,
    /// Held until the end: the directory is locked so long.
    directory: Option<Directory>,
    running: Arc<Running>,
    stage: watch::Receiver<Stage>,
    metrics: Arc<Metrics>,
}

type Say<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// What the service has handed over, once it is there.
#[derive(Default)]
struct Running {
    status: OnceLock<Say<GetStatusResponse>>,
    ready: OnceLock<Say<bool>>,
    drained: Mutex<Option<BoxFuture<'static, ()>>>,
    map_committed: OnceLock<services::MapCommitted>,
}

impl Running {
    fn is_ready(&self, shutdown: &Shutdown) -> bool {
        !shutdown.is_draining() && self.ready.get().is_some_and(|ready| ready())
    }

    fn map_committed(&self) -> u64 {
        let known = self.map_committed.get().and_then(|map| map.borrow().clone());
        known.map_or(0, |map| map.version)
    }

    fn status(&self, identity: &Identity, map_version: u64, shutdown: &Shutdown) -> GetStatusResponse {
        let said = self.status.get().map(|status| status()).unwrap_or_default();
        GetStatusResponse {
            name: identity.name.clone(),
            role: identity.role.as_str().to_owned(),
            datacenter: identity.datacenter.0.clone(),
            node: identity.node.0,
            boot_counter: identity.boot.counter,
            map_version,
            map_committed: self.map_committed(),
            ready: self.is_ready(shutdown),
            ..said
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Node {
    pub(crate) fn identity(&self) -> &Identity {
        &self.host.identity
    }

    /// The cluster map that it knows.
    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        self.host.map()
    }

    /// Resolves once the service is started, or waits until the map has work for it.
    ///
    /// # Errors
    /// Why it could not be.
    pub(crate) async fn started(&self) -> Result<(), Refusal> {
        let mut stage = self.stage.clone();
        let reached = stage.wait_for(|stage| *stage != Stage::Starting).await;
        match reached.map(|stage| stage.clone()) {
            Ok(Stage::Failed(why)) => Err(why),
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::new(format!("{} was stopped", self.identity().name))),
        }
    }

    /// Resolves when the service could not be started; for ever pending otherwise.
    pub(crate) async fn failed(&self) -> Refusal {
        let mut stage = self.stage.clone();
        let has_failed = |stage: &Stage| matches!(stage, Stage::Failed(_));
        match stage.wait_for(has_failed).await.map(|stage| stage.clone()) {
            Ok(Stage::Failed(why)) => why,
            Ok(_) | Err(_) => std::future::pending().await,
        }
    }

    /// Whether it waits until the map has work for it.
    pub(crate) fn is_waiting(&self) -> bool {
        *self.stage.borrow() == Stage::Waiting
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.running.is_ready(&self.shutdown)
    }

    /// The same for someone who outlives the node.
    pub(crate) fn readiness(&self) -> Say<bool> {
        let (running, shutdown) = (self.running.clone(), self.shutdown.clone());
        Arc::new(move || running.is_ready(&shutdown))
    }

    /// Takes nothing new and finishes what is under way until `deadline`. Harmless to repeat.
    async fn drain(&self, deadline: Instant) {
        self.shutdown.drain();
        let drained = self.running.drained.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(drained) = drained
            && timeout_at(deadline, drained).await.is_err()
        {
            tracing::info!(node = self.identity().name, "not everything under way was finished");
        }
    }

    /// Drains until `deadline`, then ends.
    pub(crate) async fn stop(self, deadline: Instant) {
        self.drain(deadline).await;
        self.shutdown.stop();
        let Self { listener, process, storage, directory, metrics, host, .. } = self;
        // What still speaks to this node are streams of peers, which resume elsewhere.
        listener.drain(deadline.min(Instant::now() + starting::STREAMS_END)).await;
        end(&process, storage, directory, &metrics, &host.identity.name).await;
    }

    /// Ends as `kill -9` would: nothing is finished, nobody is told.
    pub(crate) async fn kill(self) {
        let Self { listener, process, storage, directory, metrics, host, .. } = self;
        drop(listener);
        end(&process, storage, directory, &metrics, &host.identity.name).await;
    }

    /// Opens everything that can be refused, listens, and starts the service as soon as there is a map.
    ///
    /// # Errors
    /// A taken port, a directory in use or of another version: see [`Refusal`].
    pub(crate) async fn start(
        plan: Plan,
        surroundings: &Surroundings,
        front: Option<Arc<Parts>>,
    ) -> Result<Self, Refusal> {
        starting::start(plan, surroundings, front).await
    }
}

async fn end(
    process: &OsProcess,
    storage: Option<Arc<RocksStorage>>,
    directory: Option<Directory>,
    metrics: &Metrics,
    name: &str,
) {
    process.kill().await;
    metrics.remove(name);
    if let Some(storage) = storage {
        open::in_background(move || storage.close()).await;
    }
    drop(directory);
}

/// Push and pop first, with the listeners of their clients; then what they ask.
const STOP_ORDER: [&[Role]; 4] =
    [&[Role::Push, Role::Pop], &[Role::MessageStore], &[Role::SubscriptionPosition], &[Role::MessageId]];
/// How long clients may take to go once their calls are answered.
const CLIENTS_END: Duration = Duration::from_secs(1);

/// Stops nodes in the reverse of the order in which they need each other.
pub(crate) async fn stop_all(fronts: Vec<Front>, nodes: Vec<Node>, deadline: Instant) {
    let public = nodes.iter().filter(|node| !node.identity().role.is_stateful());
    join_all(public.map(|node| node.drain(deadline))).await;
    let clients_end = deadline.min(Instant::now() + CLIENTS_END);
    join_all(fronts.into_iter().map(|front| front.close(clients_end))).await;
    let mut left = nodes;
    for roles in STOP_ORDER {
        let (now, later): (Vec<Node>, Vec<Node>) =
            left.into_iter().partition(|node| roles.contains(&node.identity().role));
        left = later;
        join_all(now.into_iter().map(|node| node.stop(deadline))).await;
    }
}
