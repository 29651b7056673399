//! From a plan to a running node.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use trunkline_ports::{Host, Identity, Network, Router, Traces};
use trunkline_runtime::{OsProcess, Shutdown};
use trunkline_storage::RocksStorage;
use trunkline_telemetry::Beginning;
use trunkline_transport::{Bound, Door, GrpcTransport, Listener, Routes};
use trunkline_types::{Boot, ClusterMap, NodeId, Standing};
use trunkline_wire::internal::GetStatusResponse;

use super::services::{Given, MapCommitted, Started};
use super::{Node, Plan, Running, Say, Stage, Surroundings, open};
use crate::follow_map::Follower;
use crate::front::{Parts, Ready};
use crate::known_map::KnownMap;
use crate::node_service;
use crate::refusal::{REFUSED, Refusal};
use crate::traced::traced;

/// How long streams of peers may take to end once the service has stopped.
pub(super) const STREAMS_END: Duration = Duration::from_millis(500);

pub(super) async fn start(
    plan: Plan,
    surroundings: &Surroundings,
    front: Option<Arc<Parts>>,
) -> Result<Node, Refusal> {
    let bound = Bound::to(&plan.listen).await?;
    let process = OsProcess::new(fail(plan.name.clone())).refusing(refuse(plan.name.clone()));
    let opened = open::open(&plan, surroundings, process.process()).await?;
    let (directory, storage) = opened.unzip();
    let (cluster, round_trips) = (&surroundings.cluster_name, surroundings.round_trips.clone());
    let known = KnownMap::open(&plan.name, directory.clone(), cluster, round_trips)?;
    if let Some(newest) = &surroundings.newest_map {
        known.offer((**newest).clone()).await?;
    }
    if let (Some(directory), map) = (&directory, known.get()) {
        not_replaced(&plan.name, directory.node(), &map)?;
    }
    let known = Arc::new(known);
    let host = host(&plan, surroundings, &process, directory.as_ref(), &known);
    let (shutdown, running) = (Shutdown::new(), Arc::new(Running::default()));

    let own =
        node_service::router(&host, &known, &surroundings.cluster_name, say(&host, &running, &shutdown));
    let routes = Routes::starting(own.clone());
    let healthy = {
        let (running, shutdown) = (running.clone(), shutdown.clone());
        Arc::new(move || running.is_ready(&shutdown))
    };
    let listener = Listener::serve(bound, Door::Internal, routes.clone(), healthy, &process.process());
    let follower = Follower {
        known: known.clone(),
        network: host.network.clone(),
        process: process.process(),
        datacenter: plan.datacenter.clone(),
        own: Some(plan.advertise.clone()),
        seeds: surroundings.seeds.clone(),
    };
    process.process().spawn("follow map", follower.follow());

    let (told, stage) = watch::channel(Stage::Starting);
    let start = Start {
        host: host.clone(),
        known,
        storage: storage.clone(),
        shutdown: shutdown.clone(),
        surroundings: surroundings.clone(),
        running: running.clone(),
        own,
        routes,
        front,
    };
    process.process().spawn("start", async move {
        let stage = match start.once_there_is_work(&told).await {
            Ok(()) => Stage::Started,
            Err(why) => Stage::Failed(why),
        };
        told.send_replace(stage);
    });
    let metrics = surroundings.metrics.clone();
    Ok(Node { host, process, shutdown, listener, storage, directory, running, stage, metrics })
}

/// A node that was replaced stays out, whatever is in its directory.
fn not_replaced(name: &str, node: NodeId, map: &ClusterMap) -> Result<(), Refusal> {
    let Standing::Replaced(known) = map.standing(node) else { return Ok(()) };
    let (by, version) = (known.by, map.version);
    let why = format!("node {node} was replaced by {by}, as the cluster map of version {version} says");
    Err(Refusal::new(format!("{name}: {why}: with an emptied data directory it is a new node")))
}

/// What a node does that must not go on, for example after a failed fsync.
fn fail(name: String) -> impl Fn(&str) + Send + Sync + 'static {
    move |why| {
        tracing::error!(node = name, why, "the process must not go on");
        std::process::abort();
    }
}

/// What a node does that was given what it must not use: nothing crashed, so there is no core to look at.
fn refuse(name: String) -> impl Fn(&str) + Send + Sync + 'static {
    move |why| {
        tracing::error!(node = name, why, "the node is refused");
        std::process::exit(REFUSED.into());
    }
}

fn host(
    plan: &Plan,
    surroundings: &Surroundings,
    process: &OsProcess,
    directory: Option<&trunkline_storage::Directory>,
    known: &KnownMap,
) -> Host {
    let process = process.process();
    // Roles without a directory are someone new at each start.
    let (node, boot) = match directory {
        Some(directory) => (directory.node(), directory.boot()),
        None => (NodeId(process.random().max(1)), Boot::default()),
    };
    let identity = Identity {
        node,
        boot,
        role: plan.role,
        datacenter: plan.datacenter.clone(),
        address: plan.advertise.clone(),
        name: plan.name.clone(),
    };
    let transport = GrpcTransport::new(process.clone(), plan.datacenter.clone(), surroundings.wan.clone());
    let traces =
        if surroundings.traced { trunkline_telemetry::traces(&plan.name) } else { Traces::default() };
    Host {
        identity: Arc::new(identity),
        process,
        network: Network::new(transport),
        traces,
        map: known.watch(),
    }
}

fn say(host: &Host, running: &Arc<Running>, shutdown: &Shutdown) -> Say<GetStatusResponse> {
    let (host, running, shutdown) = (host.clone(), running.clone(), shutdown.clone());
    Arc::new(move || running.status(&host.identity, host.map().version, &shutdown))
}

struct Start {
    host: Host,
    known: Arc<KnownMap>,
    storage: Option<Arc<RocksStorage>>,
    shutdown: Shutdown,
    surroundings: Surroundings,
    running: Arc<Running>,
    /// What the node answers by itself.
    own: Router,
    routes: Routes,
    front: Option<Arc<Parts>>,
}

impl Start {
    /// Resolves once the map has work for this node. False: it ends first.
    async fn work(&self, told: &watch::Sender<Stage>) -> Result<bool, Refusal> {
        let mut map = self.known.watch();
        let identity = &self.host.identity;
        let (me, role) = (identity.node, identity.role);
        let Ok(first) = map.wait_for(|map| map.version > 0).await.map(|map| map.clone()) else {
            return Ok(false);
        };
        if !first.has_work_for(me, role) {
            told.send_replace(Stage::Waiting);
            tracing::info!(node = identity.name, id = %me, "new: waits until it is given a place in the cluster map");
        }
        let is_settled =
            |map: &Arc<ClusterMap>| map.has_work_for(me, role) || not_replaced("", me, map).is_err();
        let settled = map.wait_for(is_settled).await.map(|map| map.clone());
        let Ok(settled) = settled else { return Ok(false) };
        not_replaced(&identity.name, me, &settled).map(|()| true)
    }

    async fn once_there_is_work(self, told: &watch::Sender<Stage>) -> Result<(), Refusal> {
        if !self.work(told).await? {
            return Ok(());
        }
        told.send_replace(Stage::Starting);
        let name = self.host.identity.name.clone();
        let labels =
            [("node".into(), name.clone().into()), ("role".into(), self.host.identity.role.as_str().into())];
        let mut registry = Registry::with_prefix_and_labels("trunkline", labels.into_iter());
        if let Some(storage) = &self.storage {
            storage.register(&mut registry);
        }
        let given = Given {
            host: &self.host,
            storage: self.storage.clone(),
            options: &self.surroundings.options,
            shutdown: &self.shutdown,
            registry: &mut registry,
        };
        let started = given.start().await.map_err(|why| Refusal::new(format!("{name}: {why}")))?;
        let Started { service, map_committed } = started;
        self.surroundings.metrics.put(name, registry);
        if let Some(map_committed) = map_committed {
            let _ = self.running.map_committed.set(map_committed.clone());
            let taking = take(self.known.clone(), map_committed);
            self.host.process.spawn("committed map", taking);
        }
        let node = &self.host.identity.name;
        let traced = |router: Router, beginning| match self.surroundings.traced {
            true => traced(router, beginning, node),
            false => router,
        };
        self.routes.replace(self.own.merge(traced(service.internal, Beginning::Nowhere)));
        let _ = self.running.status.set(service.status);
        let _ = self.running.ready.set(service.ready.clone());
        *self.running.drained.lock().unwrap_or_else(PoisonError::into_inner) = Some(service.drained);
        if let Some(front) = self.front {
            let (running, shutdown) = (self.running.clone(), self.shutdown.clone());
            let ready = Ready(Arc::new(move || running.is_ready(&shutdown)));
            front.put(
                self.host.identity.role,
                traced(service.public, Beginning::Here),
                ready,
                &self.host.process,
            );
        }
        Ok(())
    }
}

/// Brings what group 0 commits to this node's own map.
async fn take(known: Arc<KnownMap>, mut committed: MapCommitted) {
    loop {
        let map = committed.borrow_and_update().clone();
        if let Some(map) = map
            && let Err(refusal) = known.offer((*map).clone()).await
        {
            tracing::error!(%refusal, "the committed cluster map was refused");
        }
        if committed.changed().await.is_err() {
            return;
        }
    }
}
