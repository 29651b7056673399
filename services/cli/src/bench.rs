//! `trunkline bench`: load from every datacenter, read and popped in every datacenter.
//!
//! Open loop (`--rate`): each message has an intended send time, and every latency counts from it, however late the
//! message could be sent (Tene, "How not to measure latency"). Closed loop (no `--rate`): each stream sends as fast as
//! its window allows.
//!
//! - `load`: one run, from its topics to its report.
//! - `payload`: what a message carries, so that whoever gets it knows when it was meant to be sent.
//! - `board`: counts, latencies, and which messages were seen where (pure).
//! - `senders`, `readers`, `poppers`: the load.
//! - `disk`: what the disk does by itself. `figures`: what the cluster used. `light`: what nothing can be faster than.
//! - `report`: the result, and whether it can be true.
//! - `suite`: the fixed list of runs behind the README's table.

mod board;
mod disk;
mod figures;
mod light;
mod load;
mod metronome;
mod payload;
mod poppers;
mod readers;
mod report;
mod senders;
mod suite;

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{Acks, Admin, Connection, duration};
use crate::context::Context;
use crate::failure::Failure;
use load::Load;
use payload::HEADER_BYTES;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline bench --rate 1000 --duration 30s               # open loop, 1,000 messages a second in all
  trunkline bench --rate 723 --size 5000 --ack ordered
  trunkline bench --topics 16 --subscribers 2 --json       # closed loop: as fast as it goes
  trunkline bench suite --cases idle,start                 # the runs behind README's table, on clusters of their own

Load comes from every datacenter in equal parts. In every datacenter each topic is read, and popped by each of its
subscribers. Latencies count from the intended send time of a message; that of pop is the call's own.
A message is lost when it was acknowledged and is missing for a reader or subscriber at the end.";

/// What `trunkline bench` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Runs a fixed list of cases, each on a fresh `trunkline dev`, and holds them against their bars
    #[command(after_help = suite::EXAMPLES)]
    Suite(suite::Args),
}

/// One run.
#[derive(Clone, Debug, clap::Args)]
struct LoadArgs {
    /// Messages a second, of all datacenters together; without it, as fast as it goes
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 1_000, value_parser = size)]
    size: usize,
    /// How long to push
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    duration: Duration,
    #[command(flatten)]
    acks: Acks,
    /// Topics
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    topics: u32,
    /// Subscribers in each datacenter; each pops every topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    subscribers: u32,
    /// How long to wait at the end for what is still on its way
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    stragglers: Duration,
    /// Where the disk itself is measured: on the cluster's file system [default: ./data where there is one, else here]
    #[arg(long, value_name = "DIR")]
    probe_dir: Option<PathBuf>,
    /// Client addresses of the datacenters [default: those of `trunkline dev`]
    #[command(flatten)]
    connection: Connection,
    /// For what the cluster itself used
    #[command(flatten)]
    admin: Admin,
}

fn size(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| format!("{text:?} is not a number of bytes"))?;
    let max = trunkline_types::limits::PAYLOAD_INLINE_BYTES_MAX;
    if (HEADER_BYTES..=max).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("must be between {HEADER_BYTES} and {max}"))
    }
}

impl LoadArgs {
    fn load(self) -> Load {
        let is_elsewhere = self.connection.endpoints != trunkline_client::Endpoints::of_dev();
        Load {
            rate: self.rate,
            size: self.size,
            duration: self.duration,
            level: self.acks.level(),
            topics: self.topics,
            subscribers: self.subscribers,
            stragglers: self.stragglers,
            probe_dir: self.probe_dir.unwrap_or_else(disk::directory),
            admin: self.admin.addresses(is_elsewhere).unwrap_or_default(),
            connection: self.connection,
            acked_max: None,
            keep_topics: false,
        }
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if let Some(Command::Suite(args)) = args.command {
        return suite::run(args, context).await;
    }
    let json = args.load.connection.json;
    let mut interrupted = (context.interrupted)();
    let report = load::run(&args.load.load(), context, &mut interrupted).await?;
    report.print(context, json)?;
    match report.complaints() {
        complaints if complaints.is_empty() => Ok(()),
        complaints => Err(Failure::Failed(complaints.join("; "))),
    }
}
