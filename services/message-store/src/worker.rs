//! The one task that owns everything a store knows. It is fed by streams, calls and sessions through one bounded
//! queue, takes what is ready together, steps the pure machines of `trunkline_ordering::store`, and flushes once:
//! one batch to disk, one message per stream. It never waits for anything but its next event.
//!
//! - [`append`]: as coordinator, what push servers send.
//! - [`serve`]: as holder, what followers are sent; [`follow`]: as follower, what holders send.
//! - [`identity`]: who goes on under its identity, and who does not.
//! - [`order`]: sessions with voters: reports out, facts in.
//! - [`read`]: what pop servers ask; [`load`]: what is read from disk on the worker's behalf.

pub(crate) mod append;
pub(crate) mod follow;
mod identity;
pub(crate) mod load;
pub(crate) mod order;
mod pace;
pub(crate) mod read;
pub(crate) mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use trunkline_ordering::store::{Boots, Catalog, Effect, LogNo, Row, Settled, UnknownTopics};
use trunkline_ports::{Host, Storage};
use trunkline_runtime::Shutdown;
use trunkline_types::limits::HELD_INTERVAL;
use trunkline_types::{NodeId, TopicId};
use trunkline_wire::internal::DiskBehind;

use crate::commit::{Commit, Written};
use crate::copy_index::Copying;
use crate::dial::Dialed;
use crate::figures::Figures;
use crate::handle::{Handle, Input};
use crate::layout::Layout;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::recent::RecentRecords;
use crate::recover::Recovered;
use crate::repair::Repairs;
use append::Coordinator;
use follow::Following;
use load::Loads;
use order::Sessions;
use pace::Pace;
pub(crate) use pace::TICK;
use read::Readers;
use serve::Follower;

/// Inputs taken together before one flush.
const INPUTS_TOGETHER: usize = 256;
/// Announcements, pulls and stalls are looked at so often while there are any.
const FAST_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) host: Host,
    pub(crate) options: Options,
    pub(crate) shutdown: Shutdown,
    pub(crate) handle: Handle,
    pub(crate) layout: Layout,
    pub(crate) catalog: Catalog,
    pub(crate) recent: RecentRecords,
    pub(crate) commit: Commit,
    pub(crate) metrics: Metrics,
    pub(crate) figures: Arc<Figures>,
    pub(crate) coordinator: Coordinator,
    pub(crate) followers: BTreeMap<NodeId, Follower>,
    /// Boots of stores that were seen, in logs' names and on Follow streams.
    pub(crate) boots: Boots,
    /// Stores that had less on disk than they had told.
    pub(crate) behind: BTreeMap<NodeId, DiskBehind>,
    pub(crate) following: Following,
    pub(crate) sessions: Sessions,
    pub(crate) readers: Readers,
    pub(crate) loads: Loads,
    pub(crate) repairs: Repairs,
    /// Tasks that dial peers and voters, ended with the worker.
    pub(crate) dialed: Dialed,
    /// Indexes that are being copied from other stores.
    pub(crate) copying: BTreeMap<u16, Copying>,
    unknown: UnknownTopics,
    /// Logs that have got records since the last flush.
    pub(crate) grown: BTreeSet<LogNo>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) pace: Pace,
    inputs: mpsc::Receiver<Input>,
    wake: Arc<Notify>,
    started: Instant,
    seconds_at: Instant,
    fast_at: Option<Instant>,
}

/// What a worker begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) host: Host,
    pub(crate) options: Options,
    pub(crate) shutdown: Shutdown,
    pub(crate) handle: Handle,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) layout: Layout,
    pub(crate) recovered: Recovered,
    pub(crate) repairs: Repairs,
    pub(crate) metrics: Metrics,
    pub(crate) figures: Arc<Figures>,
}

impl Worker {
    pub(crate) fn new(with: Beginning, storage: Arc<dyn Storage>) -> Self {
        let now = Instant::now();
        let Recovered { catalog, boots, effects, copying } = with.recovered;
        let buckets = with.layout.held.len();
        let mut worker = Self {
            recent: RecentRecords::new(with.options.recent_records_bytes),
            commit: Commit::new(storage.clone()),
            coordinator: Coordinator::new(buckets),
            followers: BTreeMap::new(),
            boots,
            behind: BTreeMap::new(),
            following: Following::default(),
            sessions: Sessions::new(&with.layout),
            readers: Readers::default(),
            loads: Loads::new(storage),
            repairs: with.repairs,
            dialed: Dialed::default(),
            copying: BTreeMap::new(),
            unknown: UnknownTopics::default(),
            grown: BTreeSet::new(),
            effects,
            pace: Pace::new(),
            inputs: with.inputs,
            wake: with.wake,
            started: now,
            seconds_at: now + HELD_INTERVAL,
            fast_at: None,
            host: with.host,
            options: with.options,
            shutdown: with.shutdown,
            handle: with.handle,
            layout: with.layout,
            catalog,
            metrics: with.metrics,
            figures: with.figures,
        };
        worker.dial();
        copying.into_iter().for_each(|(group, noted)| worker.copy_again(group, noted));
        worker
    }

    pub(crate) async fn run(mut self) {
        let mut inputs = Vec::with_capacity(INPUTS_TOGETHER);
        self.publish();
        loop {
            // Before anything else: under load what is below never gets to wait for a timer.
            self.on_timers();
            self.flush();
            let waits = [self.commit.due(), self.readers.due(), self.pace.next()];
            let timers = [Some(self.seconds_at), self.fast_at].into_iter().chain(waits);
            let timer = timers.flatten().min().unwrap_or(self.seconds_at);
            tokio::select! {
                biased;
                () = self.shutdown.stopped() => return,
                written = self.commit.next() => match written {
                    Ok(written) => self.on_written(written),
                    Err(error) => {
                        tracing::error!(%error, "a write failed: the outcome of what waits is unknown");
                        return self.host.process.fail(&format!("the store cannot write: {error}"));
                    }
                },
                Some(loaded) = self.loads.next() => self.on_loaded(loaded),
                count = self.inputs.recv_many(&mut inputs, INPUTS_TOGETHER) => {
                    if count == 0 {
                        return;
                    }
                    for input in inputs.drain(..) {
                        self.on_input(input);
                    }
                    self.gather_more().await;
                }
                () = self.wake.notified() => {}
                changed = self.host.map.changed() => match changed {
                    Ok(()) => self.on_map(),
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(timer) => {}
            }
        }
    }

    /// Lets whoever is ready go first: what they bring goes out together with what is here, one message for all.
    async fn gather_more(&mut self) {
        tokio::task::yield_now().await;
        for _ in 0..INPUTS_TOGETHER {
            let Ok(input) = self.inputs.try_recv() else { return };
            self.on_input(input);
        }
    }

    /// Time since the worker began: what the pure machines are told.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn me(&self) -> NodeId {
        self.host.identity.node
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::AppendUp { stream, outlet } => self.append_up(stream, outlet),
            Input::Append { stream, records, permit } => self.append(stream, records, permit),
            Input::Read { request, reply } => drop(reply.send(self.answer_read(&request))),
            Input::ReadsUp { stream, outlet } => self.reads_up(stream, outlet),
            Input::Reads { stream, asked, abandoned, taken_bytes } => {
                self.reads(stream, asked, &abandoned, taken_bytes);
            }
            Input::Locate { log, reply } => drop(reply.send(self.locate(&log))),
            Input::Replicas { log, seq, reply } => drop(reply.send(self.replicas(&log, seq))),
            Input::Rewrite { log, at, record, reply } => self.rewrite(log, at, &record, reply),
            Input::FindTopic { name, reply } => drop(reply.send(self.find_topic(&name))),
            Input::FollowerUp { node, boot, stream, outlet } => self.follower_up(node, boot, stream, outlet),
            Input::FollowerFrame { node, stream, frame } => self.follower_frame(node, stream, frame),
            Input::HolderUp { node, boot, stream, outlet } => self.holder_up(node, boot, stream, outlet),
            Input::HolderFrame { node, stream, frame, permit } => {
                self.holder_frame(node, stream, frame, permit)
            }
            Input::HolderDown { node } => self.holder_down(node),
            Input::SessionUp { plan, stream, outlet } => self.session_up(plan, stream, outlet),
            Input::SessionFrame { plan, stream, what } => self.session_frame(plan, stream, what),
            Input::CopySnapshot { group, buckets, reply } => self.copy_snapshot(group, &buckets, reply),
            Input::CopyPart { group, stream, part, permit } => self.copy_part(group, stream, part, permit),
            Input::CopyEnded { group, facts_index } => self.copy_ended(group, facts_index),
        }
    }

    fn on_written(&mut self, written: Written) {
        self.metrics.writes.inc();
        self.metrics.written_bytes.inc_by(written.bytes as u64);
        for (&log, &end) in &written.ends {
            if self.catalog.get(log).is_none() {
                continue; // Beyond the end of a log that was closed meanwhile.
            }
            let mut effects = std::mem::take(&mut self.effects);
            self.catalog.written(log, end, &mut effects);
            self.effects = effects;
            self.own_log_moved(log);
            self.durable_moved(log);
        }
        self.settle(&written.settled);
        for (log, reply) in written.rewritten {
            self.grown.extend(self.catalog.find_log(&log)); // Followers may wait for it.
            let _ = reply.send(());
        }
        for (snapshot, reply) in written.snapshots {
            let _ = reply.send(Ok(snapshot));
        }
    }

    /// What the facts come to.
    pub(crate) fn settle(&mut self, settled: &[Settled]) {
        let mut effects = std::mem::take(&mut self.effects);
        self.catalog.settle(settled, &mut effects);
        self.effects = effects;
        for settled in settled {
            if let Settled::Ordered { log, from, runs } = settled {
                self.own_log_ordered(*log, *from, runs);
                runs.iter().for_each(|run| self.indexed(run.topic));
            }
        }
    }

    /// Rows of the index go with the next write; what they drop leaves memory at once.
    pub(crate) fn write_rows(&mut self, rows: Vec<Row>) {
        for row in &rows {
            if let Row::DropBeyond { log, end } = row {
                self.recent.drop_from(*log, *end);
            }
        }
        self.commit.rows(&self.catalog, rows);
    }

    /// What the machines want done. Effects may bring further ones.
    fn apply_effects(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Readable(topic) => {
                        self.commit.mark(topic);
                        self.readable(topic);
                    }
                    Effect::LoadIndex { topic, from } => self.loads.index(topic, from),
                    Effect::LoadRuns { log, from } => self.loads.runs(log, from),
                    Effect::Reportable(log) => self.reportable(log),
                    Effect::Complete(log) => self.write_rows(vec![Row::Log(log)]),
                }
            }
        }
    }

    /// Everything that came together goes out together.
    fn flush(&mut self) {
        self.apply_effects();
        self.commit.flush(&self.catalog, Instant::now());
        self.offer_grown();
        self.fill_followers();
        self.fill_holders();
        self.forget_complete();
        self.flush_answers();
        self.fill_sessions();
        self.fill_readers();
        if self.sessions.want_tick() || self.following.want_tick() || self.readers.want_tick() {
            self.pace.want();
        }
        let catalog = &self.catalog;
        self.recent.evict(|log| catalog.durable(log));
        self.figures.set_waiting(self.coordinator.waiting());
        if self.fast_at.is_none() && self.wants_fast() {
            self.fast_at = Some(Instant::now() + FAST_INTERVAL);
        }
    }

    /// Logs that are closed and complete leave memory. Everyone who names them lets go of them first.
    fn forget_complete(&mut self) {
        for log in self.catalog.take_complete() {
            let name = self.catalog.log(log).name;
            self.own_log_closed(log);
            self.forget_served(log);
            self.forget_followed(log);
            self.sessions.log_closed(self.catalog.group_of(name.bucket), name);
            self.grown.remove(&log);
            self.catalog.forget(log);
        }
    }

    fn wants_fast(&self) -> bool {
        self.following_wants_fast() || self.serving_wants_fast()
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        self.pace.look(now);
        self.answer_late_reads(now);
        if self.fast_at.is_some_and(|at| at <= now) {
            self.fast_at = None;
            self.follow_tick();
            self.serve_tick();
        }
        if self.seconds_at <= now {
            self.seconds_at = now + HELD_INTERVAL;
            self.each_second();
        }
    }

    fn each_second(&mut self) {
        self.expire_appends();
        self.drop_gone_followers();
        self.session_second();
        self.look_for_unknown_topics();
        self.sweep_readers();
        self.publish();
    }

    fn on_map(&mut self) {
        let map = self.host.map();
        if map.version == self.layout.map.version {
            return;
        }
        let Some(layout) = Layout::new(map, self.me()) else {
            tracing::error!("the newer cluster map does not name this store");
            return;
        };
        self.catalog.set_held(layout.held.clone());
        self.coordinator.resize(layout.held.len());
        self.layout = layout;
        self.sessions.follow(&self.layout);
        self.dial();
        self.copies_from_others();
    }

    /// Records whose topic was never created hold up their log until somebody knows.
    fn look_for_unknown_topics(&mut self) {
        let (records, due) = self.unknown.look(&self.catalog, self.now());
        self.metrics.unknown_topics.set(i64::try_from(records).unwrap_or(i64::MAX));
        for (log, topic) in due {
            tracing::warn!(%log, %topic, "records of a topic that no fact has told of hold up their log");
        }
    }

    /// What the process shows of this store.
    fn publish(&mut self) {
        let topics = self.catalog.topics().count();
        let open = self.catalog.all_open_logs().count();
        self.metrics.logs_open.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.metrics.recent_bytes.set(i64::try_from(self.recent.bytes()).unwrap_or(i64::MAX));
        let recent = self.recent.since().map_or(Duration::ZERO, |since| self.now().saturating_sub(since));
        self.metrics.recent_seconds.set(i64::try_from(recent.as_secs()).unwrap_or(i64::MAX));
        let replication = self.replication();
        self.figures.publish(replication, open, topics, &self.metrics);
    }

    /// A topic that lives here, with its options.
    fn find_topic(&self, name: &str) -> Option<(TopicId, Vec<u8>)> {
        let id = self.catalog.find_topic(name)?;
        self.catalog.topic(id).map(|topic| (id, topic.options.clone()))
    }
}
