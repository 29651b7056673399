//! `trunkline serve`: some roles of one datacenter as a process of its own.

mod config;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures::future::{join_all, select_all};
use tokio::time::Instant;
use trunkline_ports::Network;
use trunkline_runtime::OsProcess;
use trunkline_storage::SharedMemory;
use trunkline_transport::GrpcTransport;
use trunkline_types::{DatacenterName, Role};

pub use self::config::Config;
use self::config::serves_clients;
use crate::admin::{Admin, Known, Subject};
use crate::follow_map::Follower;
use crate::front::Front;
use crate::known_map::KnownMap;
use crate::metrics::Metrics;
use crate::node::{Node, Surroundings, stop_all};
use crate::refusal::Refusal;
use crate::signals::Signals;

/// Runs roles of one datacenter: push, pop, message-id, subscription-position, message-store.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// For example push,pop
    #[arg(value_delimiter = ',', required = true, value_name = "ROLE[,ROLE…]")]
    roles: Vec<Role>,
    /// The datacenter's file. TRUNKLINE_SECTION__KEY in the environment overrides it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Overrides file and environment: --set listen.admin=127.0.0.1:7121
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Serve {
    /// Runs until a signal, then finishes what is under way and stops.
    ///
    /// # Errors
    /// What cannot be begun, in one line.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = Config::read(&self.config, &self.set)?;
        config.validate(&self.roles)?;
        let _telemetry = trunkline_telemetry::init(&config.telemetry, "trunkline")?;
        let mut signals = Signals::listen();
        let process = tokio::select! {
            biased;
            () = signals.stop() => return Ok(()),
            process = Process::start(&config, &self.roles) => process?,
        };
        let outcome = tokio::select! {
            biased;
            () = signals.stop() => Ok(()),
            refusal = process.failed() => Err(refusal),
        };
        tracing::info!("stopping");
        signals.or_at_once(process.stop(Instant::now() + config.node.drain_timeout)).await;
        Ok(outcome?)
    }
}

/// Everything that runs.
struct Process {
    nodes: Vec<Node>,
    front: Option<Front>,
    admin: Admin,
}

impl Process {
    async fn start(config: &Config, roles: &[Role]) -> Result<Self, Refusal> {
        let options = config.options();
        let surroundings = Surroundings {
            cluster_name: config.cluster.name.clone(),
            seeds: config.cluster.seeds.clone(),
            memory: SharedMemory::new(&options.storage),
            options: Arc::new(options),
            metrics: Arc::new(Metrics::default()),
            wan: None,
            round_trips: None,
            traced: config.telemetry.otlp_endpoint.is_some(),
            newest_map: None,
        };
        let front = open_front(config, roles, &surroundings).await?;
        let starts = roles.iter().map(|role| {
            let parts = front.as_ref().filter(|_| !role.is_stateful()).map(Front::parts);
            Node::start(config.plan(*role, roles.len() == 1), &surroundings, parts)
        });
        let nodes: Result<Vec<Node>, Refusal> = join_all(starts).await.into_iter().collect();
        let nodes = nodes?;
        let admin = open_admin(config, &surroundings, &nodes).await?;
        Ok(Self { nodes, front, admin })
    }

    /// Resolves when a service could not be started; for ever pending otherwise.
    async fn failed(&self) -> Refusal {
        select_all(self.nodes.iter().map(|node| Box::pin(node.failed()))).await.0
    }

    async fn stop(self, deadline: Instant) {
        stop_all(self.front.into_iter().collect(), self.nodes, deadline).await;
        self.admin.close(Instant::now()).await;
    }
}

async fn open_front(
    config: &Config,
    roles: &[Role],
    shared: &Surroundings,
) -> Result<Option<Front>, Refusal> {
    if !serves_clients(roles) {
        return Ok(None);
    }
    let roles = roles.iter().copied().filter(|role| !role.is_stateful()).collect();
    let calls_max = shared.options.clients.calls_max;
    Ok(Some(Front::open(&config.listen.clients, roles, calls_max, OsProcess::new(|_| ())).await?))
}

async fn open_admin(config: &Config, shared: &Surroundings, nodes: &[Node]) -> Result<Admin, Refusal> {
    let own = OsProcess::new(|_| ());
    let process = own.process();
    let datacenter = DatacenterName(config.node.datacenter.clone());
    let network = Network::new(GrpcTransport::new(process.clone(), datacenter.clone(), None));
    let known = Arc::new(KnownMap::open("admin", None, &shared.cluster_name, None)?);
    let map = known.watch();
    // Its own nodes know the map too.
    let here: Vec<Known> = nodes.iter().map(Known::from).collect();
    let seeds = here.iter().map(|node| node.address.clone()).chain(shared.seeds.iter().cloned()).collect();
    let follower =
        Follower { known, network: network.clone(), process: process.clone(), datacenter, own: None, seeds };
    process.spawn("follow map", follower.follow());
    let readiness: Vec<_> = nodes.iter().map(Node::readiness).collect();
    let subject = Subject {
        network,
        map,
        nodes: here.into(),
        metrics: shared.metrics.clone(),
        healthy: Arc::new(move || readiness.iter().all(|ready| ready())),
        wan: None,
        controls: None,
    };
    Ok(Admin::open(&config.listen.admin, subject, own).await?)
}
