//! The subscribers: each pops every topic in its datacenter, and is asked only when there is something to pop, so that
//! a pop's latency is its own and not the wait for a message.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use trunkline_client::api::Delivery;
use trunkline_ports::process::TaskGuard;

use super::load::Bench;

/// Messages that one pop asks for.
const MESSAGES: u32 = 100;
/// Without a ring from the reader, a pop is made all the same.
const UNASKED: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

/// The consumer's name of a subscriber.
pub(super) fn consumer(datacenter: &str, number: u32) -> String {
    format!("bench-{datacenter}-{number}")
}

pub(super) fn start(bench: &Bench, subscribers: u32) -> Vec<TaskGuard> {
    let mut tasks = Vec::new();
    for datacenter in 0..bench.datacenters.len() {
        for number in 0..subscribers {
            for topic in 0..bench.topics.len() {
                let popper = pop(bench.clone(), datacenter, number, topic);
                tasks.push(bench.process.spawn("bench-popper", popper).abort_on_drop());
            }
        }
    }
    tasks
}

async fn pop(bench: Bench, datacenter: usize, number: u32, topic: usize) {
    let consumer = consumer(&bench.datacenters[datacenter], number);
    let mut subscriber = bench.clients[datacenter].subscriber(&bench.topics[topic], &consumer);
    let mut readable = bench.board.readable(datacenter, topic);
    let mut popped = 0;
    loop {
        let asked_for = timeout(UNASKED, readable.wait_for(|&read| read > popped)).await.is_ok();
        let asked = Instant::now();
        let response = match subscriber.pop(MESSAGES, Duration::ZERO).await {
            Ok(response) => response,
            Err(why) => {
                tracing::debug!(%why, "a pop failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // A pop that nothing called for may have waited for a message: its time is not a pop's.
        let took = asked_for.then(|| asked.elapsed());
        let of_run = |one: &Delivery| bench.pool.mark(&one.message.as_ref()?.message.as_ref()?.payload);
        let marks: Vec<_> = response.deliveries.iter().filter_map(of_run).collect();
        popped += response.deliveries.iter().filter(|one| one.attempt <= 1).count() as u64;
        if !response.deliveries.is_empty() {
            bench.board.popped(datacenter, number as usize, &marks, took);
        }
    }
}
