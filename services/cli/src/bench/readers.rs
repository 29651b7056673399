//! One reader per datacenter and topic: when can a message be read there?

use std::time::Duration;

use trunkline_ports::process::TaskGuard;
use trunkline_types::limits::READ_MESSAGES_MAX;

use super::Bench;

/// One read waits so long for a first message.
const WAIT: Duration = Duration::from_secs(5);
/// After a failure; the client has retried by then.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn start(bench: &Bench) -> Vec<TaskGuard> {
    let mut tasks = Vec::new();
    for datacenter in 0..bench.datacenters.len() {
        for topic in 0..bench.topics.len() {
            let reader = read(bench.clone(), datacenter, topic);
            tasks.push(bench.process.spawn("bench-reader", reader).abort_on_drop());
        }
    }
    tasks
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
