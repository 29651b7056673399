//! One reader per datacenter and topic: when can a message be read there? Topics beyond the first ones are read at the end.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::sync::watch;
use trunkline_ports::process::TaskGuard;
use trunkline_types::limits::READ_MESSAGES_MAX;

use super::load::{Bench, Phase, TOPICS_FOLLOWED_MAX};

/// One read waits so long for a first message.
const WAIT: Duration = Duration::from_secs(5);
/// After a failure; the client has retried by then.
const PAUSE: Duration = Duration::from_millis(200);
/// Topics that are read at the same time at the end.
const SWEPT_AT_ONCE: usize = 64;

pub(super) fn start(bench: &Bench, phase: &watch::Receiver<Phase>) -> Vec<TaskGuard> {
    let mut tasks = Vec::new();
    for datacenter in 0..bench.datacenters.len() {
        for topic in 0..bench.topics.len().min(TOPICS_FOLLOWED_MAX) {
            let reader = read(bench.clone(), datacenter, topic);
            tasks.push(bench.process.spawn("bench-reader", reader).abort_on_drop());
        }
        if bench.topics.len() > TOPICS_FOLLOWED_MAX {
            let sweeper = sweep(bench.clone(), datacenter, phase.clone());
            tasks.push(bench.process.spawn("bench-sweeper", sweeper).abort_on_drop());
        }
    }
    tasks
}

/// Once all is pushed, reads the topics that no reader follows, over and over.
async fn sweep(bench: Bench, datacenter: usize, mut phase: watch::Receiver<Phase>) {
    if phase.wait_for(|phase| *phase == Phase::Settle).await.is_err() {
        return;
    }
    let client = &bench.clients[datacenter];
    let most = u32::try_from(READ_MESSAGES_MAX).unwrap_or(u32::MAX);
    let mut next: Vec<u64> = vec![1; bench.topics.len()];
    loop {
        let reads = (TOPICS_FOLLOWED_MAX..bench.topics.len()).map(|topic| {
            let (name, from) = (&bench.topics[topic], next[topic]);
            async move { (topic, client.read(name, from, most, Duration::ZERO).await) }
        });
        let reads: Vec<_> = stream::iter(reads).buffer_unordered(SWEPT_AT_ONCE).collect().await;
        for (topic, page) in reads {
            let Ok(page) = page else { continue };
            let marks = page.messages.iter();
            let marks = marks.filter_map(|one| bench.pool.mark(&one.message.as_ref()?.payload));
            bench.board.swept(datacenter, &marks.collect::<Vec<_>>());
            next[topic] = page.next.max(next[topic]);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(bench: Bench, datacenter: usize, topic: usize) {
    let client = &bench.clients[datacenter];
    let most = u32::try_from(READ_MESSAGES_MAX).unwrap_or(u32::MAX);
    let mut next = 1;
    loop {
        let page = match client.read(&bench.topics[topic], next, most, WAIT).await {
            Ok(page) => page,
            Err(why) => {
                tracing::debug!(%why, "a read failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let marks = page.messages.iter().filter_map(|one| bench.pool.mark(&one.message.as_ref()?.payload));
        let seen: Vec<_> = marks.map(|mark| (mark, mark.age(bench.begun))).collect();
        if !seen.is_empty() {
            bench.board.read(datacenter, topic, &seen);
        }
        next = page.next.max(next);
    }
}
