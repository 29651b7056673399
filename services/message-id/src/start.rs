//! Starts what a message-id node runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use trunkline_ports::{Consensus, Group, Host, Router};
use trunkline_runtime::{Service, Shutdown, Ticks};
use trunkline_types::limits::RELAY_QUEUE_MAX;
use trunkline_types::{ClusterMap, GroupId, NodeId};

use crate::clocks::Clocks;
use crate::error::StartError;
use crate::link::Outgoing;
use crate::machine::Machine;
use crate::map_group::{self, MapMachine};
use crate::member::Member;
use crate::metrics::Figures;
use crate::options::Options;
use crate::relay::Relayed;
use crate::voter::{Voter, shape};
use crate::{grpc, leader, link, route, status};

/// A started Message ID service.
#[derive(Debug)]
pub struct Started {
    pub service: Service,
    /// The cluster map as group 0 has committed it: `None` until it has, and for ever where this node is no voter of
    /// group 0.
    pub map: watch::Receiver<Option<Arc<ClusterMap>>>,
}

/// Starts this node's members of group 0 and of the ordering groups, from what is on disk, and everything that leads
/// them. Returns before the groups have leaders.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub async fn start(
    host: Host,
    consensus: Arc<dyn Consensus>,
    options: Options,
    shutdown: Shutdown,
    metrics: &mut Registry,
) -> Result<Started, StartError> {
    options.validate().map_err(StartError::Options)?;
    let figures = Figures::register(metrics);
    let map = host.map();
    let (machine, known) = MapMachine::new(host.process.clone());
    let mut map_group = None;
    if is_voter(&map, GroupId::MAP, host.identity.node) {
        map_group = Some(start_group(consensus.as_ref(), GroupId::MAP, Box::new(machine)).await?);
    }
    let mut members = BTreeMap::new();
    let mut reports = Vec::new();
    for number in
        (0..map.ordering_groups).filter(|n| is_voter(&map, GroupId::ordering(*n), host.identity.node))
    {
        let (member, queue) = start_member(&host, consensus.as_ref(), &map, number, &figures).await?;
        members.insert(number, member.clone());
        reports.push((member, queue));
    }
    let (outgoing, queues) = links(&map, &members, host.identity.node);
    let ticks = Ticks::every(options.assignment_interval);
    let voter = Arc::new(Voter {
        host,
        options,
        shutdown,
        figures,
        clocks: Clocks::new(),
        members,
        routes: watch::Sender::default(),
        bypassed: watch::Sender::default(),
        links: watch::Sender::default(),
        outgoing,
        last_path: AtomicU64::new(0),
        confirmations: watch::Sender::default(),
        ticks,
    });
    run(&voter, reports, queues);
    if let Some(group) = &map_group {
        run_map_group(&voter, group, known.clone());
    }
    Ok(Started { service: service(voter, map_group, known.clone(), consensus), map: known })
}

fn is_voter(map: &ClusterMap, group: GroupId, node: NodeId) -> bool {
    trunkline_placement::voters(map, group).iter().any(|voter| voter.id == node)
}

async fn start_group(
    consensus: &dyn Consensus,
    group: GroupId,
    machine: Box<dyn trunkline_ports::StateMachine>,
) -> Result<Arc<dyn Group>, StartError> {
    consensus.start(group, machine).await.map_err(|error| StartError::Group(group, error))
}

async fn start_member(
    host: &Host,
    consensus: &dyn Consensus,
    map: &ClusterMap,
    number: u16,
    figures: &Figures,
) -> Result<(Arc<Member>, mpsc::Receiver<Relayed>), StartError> {
    let (machine, view) = Machine::new(shape(map, number), host.process.clone(), figures.clone());
    let group = start_group(consensus, GroupId::ordering(number), Box::new(machine)).await?;
    let (reports, queue) = mpsc::channel(RELAY_QUEUE_MAX);
    Ok((Arc::new(Member { number, group, view, reports }), queue))
}

type Queues = Vec<(NodeId, mpsc::Receiver<Outgoing>)>;

/// A relay stream to every voter that shares a group with this node.
fn links(
    map: &ClusterMap,
    members: &BTreeMap<u16, Arc<Member>>,
    node: NodeId,
) -> (BTreeMap<NodeId, mpsc::Sender<Outgoing>>, Queues) {
    let voters = members.values().flat_map(|member| trunkline_placement::voters(map, member.id()));
    let peers: BTreeSet<NodeId> = voters.map(|voter| voter.id).filter(|id| *id != node).collect();
    let channels = peers.into_iter().map(|peer| (peer, mpsc::channel(RELAY_QUEUE_MAX)));
    channels.map(|(peer, (sender, receiver))| ((peer, sender), (peer, receiver))).unzip()
}

/// The tasks of a voter.
fn run(voter: &Arc<Voter>, reports: Vec<(Arc<Member>, mpsc::Receiver<Relayed>)>, queues: Queues) {
    let process = voter.host.process.clone();
    for (peer, queue) in queues {
        process.spawn("relay", link::keep(voter.clone(), peer, queue));
    }
    for (member, queue) in reports {
        process.spawn("route", route::keep(voter.clone(), member.clone()));
        process.spawn("leader", leader::run(voter.clone(), member, queue));
    }
}

fn run_map_group(voter: &Arc<Voter>, group: &Arc<dyn Group>, known: watch::Receiver<map_group::Known>) {
    let (host, shutdown) = (voter.host.clone(), voter.shutdown.clone());
    let process = voter.host.process.clone();
    process.spawn("seed", map_group::seed(host, group.clone(), known, shutdown));
}

fn service(
    voter: Arc<Voter>,
    map_group: Option<Arc<dyn Group>>,
    known: watch::Receiver<map_group::Known>,
    consensus: Arc<dyn Consensus>,
) -> Service {
    let internal = grpc::router(&voter, map_group.clone().map(|group| (group, known)));
    let (reported, ready) = (voter.clone(), voter);
    Service {
        internal,
        public: Router::new(),
        status: Arc::new(move || status::status(&reported, map_group.as_ref())),
        ready: Arc::new(move || status::is_ready(&ready)),
        drained: Box::pin(async move { consensus.hand_over().await }),
    }
}
