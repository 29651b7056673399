//! `trunkline dev`: three datacenters in one process, on loopback ports, with real gRPC, real disks, real consensus
//! and a delay line for the distance.

mod embedded;
mod layout;
mod welcome;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use trunkline_ports::Network;
use trunkline_runtime::OsProcess;
use trunkline_storage::SharedMemory;
use trunkline_transport::GrpcTransport;
use trunkline_types::{ByteSize, DatacenterName};

use self::embedded::{Embedded, Handle};
use self::layout::{CLUSTER, Distance, Layout};
use crate::admin::{Admin, Controls, Known, Subject};
use crate::cluster_init::Founder;
use crate::follow_map::Follower;
use crate::front::Front;
use crate::known_map::KnownMap;
use crate::metrics::Metrics;
use crate::node::Surroundings;
use crate::options::Options;
use crate::refusal::Refusal;
use crate::signals::Signals;

const BASE_PORT: u16 = 7100;
const START_TIMEOUT: Duration = Duration::from_secs(60);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Of each of the six stores.
const RECENT_RECORDS_BYTES: usize = 128 << 20;
/// The same where caches are to be small.
const FEW_RECENT_RECORDS_BYTES: usize = 8 << 20;
const SMALL_BLOCK_CACHE: ByteSize = ByteSize::mib(8);

const EXAMPLES: &str = "Examples:
  trunkline dev
  trunkline dev --base-port 8100 --data /tmp/trunkline-second        # a second one beside it";

/// Runs a whole cluster in one process: nyc, mci and sea, each with push, pop, message-id, subscription-position and
/// two stores.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// nyc listens from here, mci 100 higher, sea 200 higher: +1 clients, +20 admin.
    #[arg(long, default_value_t = BASE_PORT)]
    base_port: u16,
    /// Where everything is kept.
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    /// The round trips between the datacenters: real (33, 70 and 72 ms), none, or one for all, such as 150ms.
    #[arg(long, default_value = "real")]
    wan: Distance,
    /// Small caches, and reads past the system's own: as if the data were far larger than memory. For measurements.
    #[arg(long, hide = true)]
    small_caches: bool,
    /// Send traces there, by OTLP over gRPC: http://127.0.0.1:4317
    #[arg(long, env = "TRUNKLINE_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

impl Dev {
    /// Runs until a signal, then stops in order.
    ///
    /// # Errors
    /// What cannot be begun, in one line.
    pub async fn run(self) -> anyhow::Result<()> {
        let layout = Layout { base_port: self.base_port, data: self.data, distance: self.wan };
        if !layout.fits() {
            return Err(
                Refusal::new(format!("--base-port {}: there is no room above it", self.base_port)).into()
            );
        }
        let telemetry = trunkline_telemetry::Options {
            // The terminal is for what people ask for.
            log_filter: trunkline_telemetry::options::WARNINGS.to_owned(),
            otlp_endpoint: self.otlp_endpoint,
            ..trunkline_telemetry::Options::default()
        };
        telemetry.validate().map_err(Refusal::new)?;
        let traced = telemetry.otlp_endpoint.is_some();
        let _telemetry = trunkline_telemetry::init(&telemetry, "trunkline")?;
        let mut signals = Signals::listen();
        let cluster = tokio::select! {
            biased;
            () = signals.stop() => return Ok(()),
            cluster = Cluster::start(layout, options(self.small_caches), traced) => cluster?,
        };
        let outcome = tokio::select! {
            biased;
            () = signals.stop() => Ok(()),
            outcome = cluster.run() => outcome,
        };
        signals.or_at_once(cluster.stop(Instant::now() + DRAIN_TIMEOUT)).await;
        Ok(outcome?)
    }
}

/// For many nodes on one machine.
fn options(small_caches: bool) -> Options {
    let mut options = Options { storage: trunkline_storage::Options::small(), ..Options::default() };
    options.message_store.recent_records_bytes = RECENT_RECORDS_BYTES;
    if small_caches {
        options.message_store.recent_records_bytes = FEW_RECENT_RECORDS_BYTES;
        options.storage.block_cache = SMALL_BLOCK_CACHE;
        options.storage.direct_reads = true;
    }
    options
}

/// Everything that runs.
struct Cluster {
    layout: Layout,
    embedded: Arc<Embedded>,
    fronts: Vec<Front>,
    admins: Vec<Admin>,
}

impl Cluster {
    async fn start(layout: Layout, options: Options, traced: bool) -> Result<Self, Refusal> {
        let surroundings = Surroundings {
            cluster_name: CLUSTER.to_owned(),
            seeds: layout.seeds(),
            memory: SharedMemory::new(&options.storage),
            options: Arc::new(options),
            metrics: Arc::new(Metrics::default()),
            wan: Some(Arc::new(layout.wan())),
            round_trips: Some(layout.round_trips()),
            traced,
        };
        let (embedded, fronts) = Embedded::start(&layout, surroundings.clone()).await?;
        let mut admins = Vec::new();
        for datacenter in layout.datacenters() {
            let admin = open_admin(&layout, datacenter, &surroundings, &embedded).await?;
            admins.push(admin);
        }
        Ok(Self { layout, embedded, fronts, admins })
    }

    /// Makes the nodes a cluster, where they are none yet, and says when it can be used. Runs on until it is dropped.
    async fn run(&self) -> Result<(), Refusal> {
        let own = OsProcess::new(|_| ());
        let process = own.process();
        let deadline = Instant::now() + START_TIMEOUT;
        let network = Network::new(GrpcTransport::new(process.clone(), DatacenterName::default(), None));
        let founder = Founder { network, process, deadline };
        let file = self.layout.map_file();
        let founding = founder.found(&file);
        // A service that cannot start says why; without this the founder would wait for it.
        let (founded, started) = tokio::join!(founding, self.embedded.started());
        started.and(founded.map(|_| ()))?;
        while !self.embedded.is_ready().await {
            if Instant::now() > deadline {
                let unready = self.embedded.unready().await.join(", ");
                return Err(Refusal::new(format!("not ready after {}s: {unready}", START_TIMEOUT.as_secs())));
            }
            sleep(LOOK_INTERVAL).await;
        }
        own.kill().await;
        let mut stdout = std::io::stdout().lock();
        // Nobody may be reading.
        let _ = stdout.write_all(welcome::welcome(&self.layout).as_bytes()).and_then(|()| stdout.flush());
        drop(stdout);
        std::future::pending().await
    }

    async fn stop(self, deadline: Instant) {
        self.embedded.stop(self.fronts, deadline).await;
        join_all(self.admins.into_iter().map(|admin| admin.close(Instant::now()))).await;
    }
}

async fn open_admin(
    layout: &Layout,
    datacenter: DatacenterName,
    surroundings: &Surroundings,
    embedded: &Arc<Embedded>,
) -> Result<Admin, Refusal> {
    let own = OsProcess::new(|_| ());
    let process = own.process();
    let wan = surroundings.wan.clone();
    let network = Network::new(GrpcTransport::new(process.clone(), datacenter.clone(), wan.clone()));
    let known = Arc::new(KnownMap::open("admin", None, CLUSTER, surroundings.round_trips.clone())?);
    let map = known.watch();
    let follower = Follower {
        known,
        network: network.clone(),
        process: process.clone(),
        datacenter: datacenter.clone(),
        own: None,
        seeds: surroundings.seeds.clone(),
    };
    process.spawn("follow map", follower.follow());
    let nodes = layout.plans().iter().filter(|plan| !plan.role.is_stateful()).map(Known::from).collect();
    let healthy = embedded.readiness();
    let controls = Some(Arc::new(Handle(embedded.clone())) as Arc<dyn Controls>);
    let metrics = surroundings.metrics.clone();
    let subject = Subject { network, map, nodes, metrics, healthy, wan, controls };
    Ok(Admin::open(&layout.admin(&datacenter), subject, own).await?)
}
