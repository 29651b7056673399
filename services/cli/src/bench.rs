//! `trunkline bench`: load from every datacenter, read and popped in every datacenter.
//!
//! Open loop (`--rate`): each message has an intended send time, and every latency counts from it, however late the
//! message could be sent (Tene, "How not to measure latency"). Closed loop (no `--rate`): each stream sends as fast as
//! its window allows.
//!
//! - `payload`: what a message carries, so that whoever gets it knows when it was meant to be sent.
//! - `board`: counts, latencies, and which messages were seen where (pure).
//! - `senders`, `readers`, `poppers`: the load.
//! - `probe`: the disk's own append and fsync. `report`: the result.

mod board;
mod payload;
mod poppers;
mod probe;
mod readers;
mod report;
mod senders;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use trunkline_client::Client;
use trunkline_client::api::{AckLevel, SubscriptionOptions, TopicOptions};
use trunkline_ports::Process;
use trunkline_ports::process::TaskGuard;

use crate::args::{Acks, Admin, Connection, StartAt, duration};
use crate::context::Context;
use crate::failure::Failure;
use board::Shared;
use payload::{HEADER_BYTES, Pool};
use report::Figures;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline bench --rate 1000 --duration 30s               # open loop, 1,000 messages a second in all
  trunkline bench --rate 723 --size 5000 --ack ordered
  trunkline bench --topics 16 --subscribers 2 --json       # closed loop: as fast as it goes

Load comes from every datacenter in equal parts. In every datacenter each topic is read, and popped by each of its
subscribers. Latencies count from the intended send time of a message; that of pop is the call's own.
A message is lost when it was acknowledged and is missing for a reader or subscriber at the end.";

/// What `trunkline bench` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
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
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    topics: u32,
    /// Subscribers in each datacenter; each pops every topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    subscribers: u32,
    /// How long to wait at the end for what is still on its way
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    stragglers: Duration,
    /// Where the disk's own append and fsync are measured [default: the directory for temporary files]
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

/// Everything that the load works with.
#[derive(Clone)]
struct Bench {
    process: Process,
    /// One per datacenter, bound to it.
    clients: Arc<Vec<Client>>,
    datacenters: Arc<Vec<String>>,
    topics: Arc<Vec<String>>,
    pool: Arc<Pool>,
    board: Shared,
    begun: Instant,
    level: AckLevel,
}

/// The load is told when to begin to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Push,
    /// No more is pushed; readers and poppers go on.
    Settle,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let all = context.client(&args.connection)?;
    let datacenters = match &args.connection.datacenter {
        Some(one) => vec![one.clone()],
        None => all.datacenters(),
    };
    let clients: Result<Vec<_>, _> = datacenters.iter().map(|name| all.only(name)).collect();
    let run = context.process.random();
    let topics: Vec<String> = (0..args.topics).map(|n| format!("bench-{run:016x}-{n}")).collect();
    let bench = Bench {
        process: context.process.clone(),
        clients: Arc::new(clients?),
        board: Shared::new(datacenters.len(), topics.len(), args.subscribers as usize),
        datacenters: Arc::new(datacenters),
        topics: Arc::new(topics),
        pool: Arc::new(Pool::new(&context.process, run, args.size)),
        begun: Instant::now(),
        level: args.acks.level(),
    };
    let outcome = measure(&args, bench.clone(), context).await;
    let deleted = delete(&bench).await;
    let report = outcome?;
    report.print(context, args.connection.json)?;
    deleted?;
    if report.lost > 0 {
        return Err(Failure::Failed(format!("{} acknowledged messages were lost", report.lost)));
    }
    Ok(())
}

async fn measure(args: &Args, mut bench: Bench, context: &mut Context) -> Result<report::Report, Failure> {
    let is_elsewhere = args.connection.endpoints != trunkline_client::Endpoints::of_dev();
    let admin = args.admin.addresses(is_elsewhere).unwrap_or_default();
    let fsync = probe::run(args.probe_dir.clone()).await;
    if let Err(why) = &fsync {
        context.note(&format!("the disk could not be probed: {why}"));
    }
    prepare(args, &bench).await?;
    let before = Figures::read(context, &admin).await;
    let bar = bar(context, args.duration);
    bench.begun = Instant::now();
    let until = bench.begun + args.duration;
    let (phase, told) = watch::channel(Phase::Push);
    let mut tasks = readers::start(&bench);
    tasks.extend(poppers::start(&bench, args.subscribers));
    let sending = senders::start(&bench, args.rate, until, &told);
    progress(&bench, &bar, until).await;
    phase.send_replace(Phase::Settle);
    senders::finish(sending).await;
    let pushed_for = bench.begun.elapsed();
    settle(&bench, &bar, Instant::now() + args.stragglers).await;
    let after = Figures::read(context, &admin).await;
    bar.finish_and_clear();
    drop::<Vec<TaskGuard>>(tasks);
    Ok(bench.board.report(&bench.datacenters, pushed_for, fsync.ok(), Figures::between(before, after)))
}

/// Topics, and the subscriptions that will pop everything.
async fn prepare(args: &Args, bench: &Bench) -> Result<(), Failure> {
    let first = &bench.clients[0];
    let creating = bench.topics.iter().map(|topic| first.create_topic(topic, TopicOptions::default()));
    let mut creating = stream::iter(creating).buffer_unordered(AT_ONCE);
    while let Some(created) = creating.next().await {
        created?;
    }
    let mut subscriptions = Vec::new();
    for (place, client) in bench.clients.iter().enumerate() {
        for number in 0..args.subscribers {
            for topic in bench.topics.iter() {
                let consumer = poppers::consumer(&bench.datacenters[place], number);
                subscriptions.push(async move {
                    let start = Some(StartAt::Earliest.start());
                    let options = SubscriptionOptions { start, ack_deadline: None };
                    client.subscribe(topic, &consumer, options).await
                });
            }
        }
    }
    let mut subscribing = stream::iter(subscriptions).buffer_unordered(AT_ONCE);
    while let Some(subscribed) = subscribing.next().await {
        subscribed?;
    }
    Ok(())
}

/// Calls that prepare or clean up at the same time.
const AT_ONCE: usize = 16;

async fn delete(bench: &Bench) -> Result<(), Failure> {
    let deleting = bench.topics.iter().map(|topic| bench.clients[0].delete_topic(topic));
    let mut deleting = stream::iter(deleting).buffer_unordered(AT_ONCE);
    let mut failed = Ok(());
    while let Some(deleted) = deleting.next().await {
        failed = failed.and(deleted.map_err(Failure::from));
    }
    failed
}

async fn progress(bench: &Bench, bar: &ProgressBar, until: Instant) {
    let mut ticks = interval(Duration::from_millis(250));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(until) => return,
            _ = ticks.tick() => {
                bar.set_position(u64::try_from(bench.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
                bar.set_message(bench.board.progress());
            }
        }
    }
}

/// Until everyone has seen everything that was acknowledged, or too long.
async fn settle(bench: &Bench, bar: &ProgressBar, until: Instant) {
    bar.set_message("waiting for what is on its way");
    let mut ticks = interval(Duration::from_millis(50));
    while Instant::now() < until && !bench.board.complete() {
        ticks.tick().await;
        bar.tick();
    }
}

fn bar(context: &Context, duration: Duration) -> ProgressBar {
    let target =
        if context.interactive { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(millis), target);
    let style = ProgressStyle::with_template("{bar:30} {elapsed_precise}  {msg}");
    bar.set_style(style.expect("a valid template"));
    bar
}
