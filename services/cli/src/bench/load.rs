//! One run of the load, from its topics to its report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use trunkline_client::api::{AckLevel, SubscriptionOptions, TopicOptions};
use trunkline_client::{Client, Code};
use trunkline_ports::process::TaskGuard;
use trunkline_ports::{Network, Process};

use super::board::Shared;
use super::disk::Disk;
use super::figures::Figures;
use super::payload::Pool;
use super::report::{Report, Surroundings};
use super::{poppers, readers, senders};
use crate::args::{Connection, StartAt};
use crate::context::Context;
use crate::failure::Failure;

/// Topics up to which each has streams and readers of its own. Of more, each message is a call, and what lies beyond
/// is read at the end: then only the run is measured and not thousands of waiting calls.
pub(super) const TOPICS_FOLLOWED_MAX: usize = 64;
/// Calls that prepare or clean up at the same time.
const AT_ONCE: usize = 64;

/// What to do.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Without it, a closed loop.
    pub(super) rate: Option<u64>,
    pub(super) size: usize,
    pub(super) duration: Duration,
    pub(super) level: AckLevel,
    pub(super) topics: u32,
    pub(super) subscribers: u32,
    pub(super) stragglers: Duration,
    pub(super) probe_dir: PathBuf,
    pub(super) connection: Connection,
    /// Admin listeners; none where they are not known.
    pub(super) admin: Vec<String>,
    /// Pushing ends early when so many messages are acknowledged.
    pub(super) acked_max: Option<u64>,
    /// For a cluster that is to be full afterwards.
    pub(super) keep_topics: bool,
}

/// Everything that the load works with.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) process: Process,
    /// One per datacenter, bound to it.
    pub(super) clients: Arc<Vec<Client>>,
    pub(super) datacenters: Arc<Vec<String>>,
    pub(super) topics: Arc<Vec<String>>,
    pub(super) pool: Arc<Pool>,
    pub(super) board: Shared,
    pub(super) begun: Instant,
    pub(super) level: AckLevel,
}

/// The load is told when to begin to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Push,
    /// No more is pushed; readers and poppers go on.
    Settle,
}

/// Resolves at Ctrl-C.
pub(super) type Interrupted = BoxFuture<'static, ()>;

/// # Errors
/// What could not be prepared, and Ctrl-C: the topics are deleted in any case.
pub(super) async fn run(
    load: &Load,
    context: &mut Context,
    interrupted: &mut Interrupted,
) -> Result<Report, Failure> {
    if load.rate.is_none() && load.topics as usize > TOPICS_FOLLOWED_MAX {
        let problem = format!("--topics is at most {TOPICS_FOLLOWED_MAX} without --rate");
        return Err(Failure::Usage(problem));
    }
    let all = context.client(&load.connection)?;
    let datacenters = match &load.connection.datacenter {
        Some(one) => vec![one.clone()],
        None => all.datacenters(),
    };
    let clients: Result<Vec<_>, _> = datacenters.iter().map(|name| all.only(name)).collect();
    let run = context.process.random();
    let topics: Vec<String> = (0..load.topics).map(|n| format!("bench-{run:016x}-{n}")).collect();
    let bench = Bench {
        process: context.process.clone(),
        clients: Arc::new(clients?),
        board: Shared::new(datacenters.len(), topics.len(), load.subscribers as usize),
        datacenters: Arc::new(datacenters),
        topics: Arc::new(topics),
        pool: Arc::new(Pool::new(&context.process, run, load.size)),
        begun: Instant::now(),
        level: load.level,
    };
    let outcome = measure(load, bench.clone(), context, interrupted).await;
    let deleted = if load.keep_topics { Ok(()) } else { delete(&bench).await };
    let mut report = outcome?;
    report.wrong.extend(deleted.err().map(|failure| format!("topics are left: {failure}")));
    Ok(report)
}

async fn measure(
    load: &Load,
    mut bench: Bench,
    context: &mut Context,
    interrupted: &mut Interrupted,
) -> Result<Report, Failure> {
    let mut disk = Disk::new(&load.probe_dir, bench.pool.random(), load.size);
    let is_closed = load.rate.is_none();
    probe(&mut disk, is_closed, context).await;
    tokio::select! {
        biased;
        prepared = prepare(load, &bench) => prepared?,
        () = &mut *interrupted => return Err(Failure::Interrupted),
    }
    let before = Figures::read(&context.network, &load.admin).await;
    let bar = bar(context, load.duration);
    bench.begun = Instant::now();
    let until = bench.begun + load.duration;
    let (phase, told) = watch::channel(Phase::Push);
    let mut tasks = readers::start(&bench, &told);
    tasks.extend(poppers::start(&bench, load.subscribers));
    let sending = senders::start(&bench, load.rate, until, &told);
    let is_whole = tokio::select! {
        biased;
        () = &mut *interrupted => false,
        () = progress(&bench, &bar, until, load.acked_max) => true,
    };
    phase.send_replace(Phase::Settle);
    sending.finish().await;
    let pushed_for = bench.begun.elapsed();
    let settled = async {
        let until = Instant::now() + load.stragglers;
        settle(&bench, &bar, until).await;
        replicated(&context.network, &load.admin, until).await.then(|| bench.begun.elapsed())
    };
    if !is_whole {
        return Err(Failure::Interrupted);
    }
    let replicated_for = tokio::select! {
        biased;
        () = &mut *interrupted => return Err(Failure::Interrupted),
        replicated_for = settled => replicated_for,
    };
    let after = Figures::read(&context.network, &load.admin).await;
    bar.finish_and_clear();
    drop::<Vec<TaskGuard>>(tasks);
    probe(&mut disk, is_closed, context).await;
    let surroundings =
        Surroundings { commit: context.commit, disk: disk.speed(), figures: Figures::between(before, after) };
    Ok(bench.board.report(&bench.datacenters, pushed_for, replicated_for, surroundings))
}

async fn probe(disk: &mut Disk, is_closed: bool, context: &mut Context) {
    if let Err(why) = disk.probe(is_closed).await {
        context.note(&format!("the disk could not be probed: {why}"));
    }
}

/// Topics, and the subscriptions that will pop everything.
async fn prepare(load: &Load, bench: &Bench) -> Result<(), Failure> {
    let first = &bench.clients[0];
    let creating = bench.topics.iter().map(|topic| first.create_topic(topic, TopicOptions::default()));
    let mut creating = stream::iter(creating).buffer_unordered(AT_ONCE);
    while let Some(created) = creating.next().await {
        created?;
    }
    let mut subscriptions = Vec::new();
    for (place, client) in bench.clients.iter().enumerate() {
        for number in 0..load.subscribers {
            for topic in bench.topics.iter() {
                let consumer = poppers::consumer(&bench.datacenters[place], number);
                subscriptions.push(async move {
                    let start = Some(StartAt::Earliest.start(0));
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

async fn delete(bench: &Bench) -> Result<(), Failure> {
    let deleting = bench.topics.iter().map(|topic| bench.clients[0].delete_topic(topic));
    let mut deleting = stream::iter(deleting).buffer_unordered(AT_ONCE);
    let mut failed = Ok(());
    while let Some(deleted) = deleting.next().await {
        match deleted {
            // An interrupted run may not have created it.
            Err(status) if status.code() == Code::NotFound => {}
            deleted => failed = failed.and(deleted.map(drop).map_err(Failure::from)),
        }
    }
    failed
}

async fn progress(bench: &Bench, bar: &ProgressBar, until: Instant, acked_max: Option<u64>) {
    let mut ticks = interval(Duration::from_millis(250));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(until) => return,
            _ = ticks.tick() => {
                bar.set_position(u64::try_from(bench.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
                bar.set_message(bench.board.progress());
                if acked_max.is_some_and(|most| bench.board.acked_count() >= most) {
                    return;
                }
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

/// Waits until every store says that it has on disk what the others have; `false` where they do not say so in time.
async fn replicated(network: &Network, admin: &[String], until: Instant) -> bool {
    let mut ticks = interval(Duration::from_millis(100));
    let all = async {
        loop {
            ticks.tick().await;
            match Figures::read(network, admin).await.records_behind {
                Some(0) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    };
    timeout_at(until, all).await.unwrap_or(false)
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
