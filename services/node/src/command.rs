//! The command line.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::time::Instant;
use trunkline_cli::Context;
use trunkline_ports::{Network, Process};
use trunkline_runtime::OsProcess;
use trunkline_transport::GrpcTransport;
use trunkline_types::DatacenterName;

use crate::cluster_init::Founder;
use crate::dev::Dev;
use crate::health::Health;
use crate::map_file::MapFile;
use crate::refusal::Refusal;
use crate::serve::Serve;
use crate::signals::interrupted;

const COMMIT: &str = env!("TRUNKLINE_BUILT_COMMIT");
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TRUNKLINE_BUILT_COMMIT"), ")");
/// What could not be begun as asked.
const REFUSED: u8 = 2;

/// PubSub over three datacenters: push, subscribe, pop, in one order everywhere.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version = VERSION, propagate_version = true)]
pub struct Trunkline {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(Dev),
    Serve(Serve),
    Cluster(Cluster),
    Health(Health),
    #[command(flatten)]
    Client(trunkline_cli::Command),
}

/// Makes processes a cluster.
#[derive(Debug, Args)]
struct Cluster {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    Init(Init),
}

/// Makes the nodes of a map a cluster. Safe to repeat and to interrupt.
#[derive(Debug, Args)]
struct Init {
    /// Names the first nodes by address: see deploy/examples/map.toml.
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// How long to wait for nodes that do not answer yet.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Trunkline {
    /// Runs the command; says on standard error, in one line, what went wrong.
    pub async fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Dev(dev) => dev.run().await,
            Command::Serve(serve) => serve.run().await,
            Command::Cluster(Cluster { command: ClusterCommand::Init(init) }) => init.run().await,
            Command::Health(health) => health.check(&network().0).await,
            Command::Client(command) => return trunkline_cli::run(command, context()).await.into(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("trunkline: {error:#}");
    if error.is::<Refusal>() { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
}

impl Init {
    async fn run(self) -> anyhow::Result<()> {
        let file = MapFile::read(&self.map)?;
        let (network, process) = network();
        let founder = Founder { network, process, deadline: Instant::now() + self.timeout };
        let map = founder.found(&file).await?;
        eprintln!("cluster {} ({}) runs with map version {}", map.name, map.cluster, map.version);
        Ok(())
    }
}

/// What client commands work with.
fn context() -> Context {
    let (network, process) = network();
    let listening = process.clone();
    Context {
        network,
        process,
        stdout: Box::new(std::io::BufWriter::new(std::io::stdout())),
        stderr: Box::new(std::io::stderr()),
        stdin: Some(Box::new(std::io::BufReader::new(std::io::stdin()))),
        interactive: std::io::stderr().is_terminal(),
        commit: COMMIT,
        interrupted: Box::new(move || interrupted(&listening)),
    }
}

/// A client's way to nodes.
fn network() -> (Network, Process) {
    let process = OsProcess::new(|_| std::process::abort()).process();
    let transport = GrpcTransport::new(process.clone(), DatacenterName::default(), None);
    (Network::new(transport), process)
}
