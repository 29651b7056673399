//! The senders: one stream per datacenter and topic, one scheduler per datacenter.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};
use trunkline_client::api::Message;
use trunkline_client::{Client, Outcome, PushStream, StreamOptions};
use trunkline_ports::process::TaskGuard;

use super::load::{Bench, Phase, TOPICS_FOLLOWED_MAX};
use super::metronome;
use super::payload::Mark;

/// Messages of one stream that are under way in a closed loop.
const CLOSED_WINDOW: usize = 128;
/// Messages of one stream under way in an open loop: beyond it the load itself is late, and says so in its latencies.
const OPEN_WINDOW: usize = 8_192;
/// Results are waited for no longer than this after the last push.
const RESULTS_MAX: Duration = Duration::from_secs(20);

/// The running load. Dropping it ends what has not ended.
pub(super) struct Senders {
    tasks: Vec<TaskGuard>,
    /// Closed when all have ended.
    ended: mpsc::Receiver<()>,
}

/// Starts the load; each task ends when the time is over, or before that when it is told, and all it sent has a result.
pub(super) fn start(
    bench: &Bench,
    rate: Option<u64>,
    until: Instant,
    phase: &watch::Receiver<Phase>,
) -> Senders {
    let mut tasks = Vec::new();
    let (running, ended) = mpsc::channel::<()>(1);
    let until_ended = |sender: BoxFuture<'static, ()>| {
        let running = running.clone();
        async move {
            sender.await;
            drop(running);
        }
    };
    for origin in 0..bench.datacenters.len() {
        match rate {
            Some(rate) => {
                let sender = open_loop(bench.clone(), origin, rate, until, phase.clone());
                let sender = until_ended(Box::pin(sender));
                tasks.push(bench.process.spawn("bench-open-loop", sender).abort_on_drop());
            }
            None => {
                for topic in 0..bench.topics.len() {
                    let sender = closed_loop(bench.clone(), origin, topic, phase.clone());
                    let sender = until_ended(Box::pin(sender));
                    tasks.push(bench.process.spawn("bench-closed-loop", sender).abort_on_drop());
                }
            }
        }
    }
    Senders { tasks, ended }
}

impl Senders {
    /// Waits for the results; what has none after a while counts as neither acknowledged nor failed.
    pub(super) async fn finish(mut self) {
        let _ = timeout(RESULTS_MAX, self.ended.recv()).await;
        self.tasks.clear();
    }
}

/// How messages of a topic go.
enum Way {
    Stream(PushStream),
    /// Each by itself.
    Calls(Client),
}

/// One topic's messages from one datacenter, and its next sequence.
struct Lane {
    bench: Bench,
    origin: usize,
    topic: usize,
    way: Way,
    next: u64,
    /// Results that are waited for; all of them back means that nothing is under way.
    open: Arc<Semaphore>,
    window: usize,
}

impl Lane {
    fn new(bench: &Bench, origin: usize, topic: usize, window: usize) -> Self {
        let options = StreamOptions {
            level: bench.level,
            linger: Duration::ZERO,
            window,
            reopen: true,
            ..StreamOptions::default()
        };
        let client = &bench.clients[origin];
        let way = if bench.topics.len() > TOPICS_FOLLOWED_MAX {
            Way::Calls(client.clone())
        } else {
            Way::Stream(client.push_stream(&bench.topics[topic], options))
        };
        Self {
            bench: bench.clone(),
            origin,
            topic,
            way,
            next: 0,
            open: Arc::new(Semaphore::new(window)),
            window,
        }
    }

    async fn send(&mut self, at: Duration) {
        if matches!(&self.way, Way::Stream(stream) if stream.is_over()) {
            let (bench, origin, topic, window, next) =
                (self.bench.clone(), self.origin, self.topic, self.window, self.next);
            *self = Self { next, ..Self::new(&bench, origin, topic, window) };
        }
        let mark = Mark { origin: self.origin, topic: self.topic, sequence: self.next, at };
        self.next += 1;
        self.bench.board.sent();
        let message = Message { payload: self.bench.pool.payload(mark), ..Message::default() };
        let place = self.open.clone().acquire_owned().await.expect("never closed");
        let outcome: BoxFuture<'static, Outcome> = match &self.way {
            Way::Stream(stream) => match stream.send(message).await {
                Ok(pending) => Box::pin(pending.outcome()),
                Err(why) => return self.bench.board.failed(why.message()),
            },
            Way::Calls(client) => {
                let (client, bench, topic) = (client.clone(), self.bench.clone(), self.topic);
                Box::pin(async move { client.push_one(&bench.topics[topic], message, bench.level).await })
            }
        };
        let (board, begun) = (self.bench.board.clone(), self.bench.begun);
        self.bench.process.spawn("bench-result", async move {
            match outcome.await {
                Ok(_) => board.acked(&mark, mark.age(begun)),
                Err(failure) => board.failed(failure.status.message()),
            }
            drop(place);
        });
    }

    async fn finish(self) {
        drop(self.way);
        let all = u32::try_from(self.window).unwrap_or(u32::MAX);
        let _ = self.open.acquire_many(all).await;
    }
}

/// Message k of the datacenter is meant to be sent at k / rate, whatever became of those before.
async fn open_loop(bench: Bench, origin: usize, rate: u64, until: Instant, phase: watch::Receiver<Phase>) {
    let mut lanes: Vec<_> =
        (0..bench.topics.len()).map(|topic| Lane::new(&bench, origin, topic, OPEN_WINDOW)).collect();
    let senders = bench.datacenters.len() as u64;
    // Senders take turns: sender i sends the messages i, i + n, i + 2n, … of the whole load.
    let at = move |turn: u64| {
        let number = turn * senders + origin as u64;
        Duration::from_nanos(number.saturating_mul(1_000_000_000) / rate)
    };
    let mut beats = metronome::start(bench.begun, until, at);
    for lane in (0..lanes.len()).cycle() {
        let Some(at) = beats.recv().await.filter(|_| *phase.borrow() != Phase::Settle) else { break };
        lanes[lane].send(at).await;
    }
    join_all(lanes.into_iter().map(Lane::finish)).await;
}

async fn closed_loop(bench: Bench, origin: usize, topic: usize, phase: watch::Receiver<Phase>) {
    let mut lane = Lane::new(&bench, origin, topic, CLOSED_WINDOW);
    while *phase.borrow() == Phase::Push {
        let place = lane.open.clone().acquire_owned().await.expect("never closed");
        // Its turn has come: this is when it is meant to be sent.
        drop(place);
        lane.send(bench.begun.elapsed()).await;
    }
    lane.finish().await;
}
