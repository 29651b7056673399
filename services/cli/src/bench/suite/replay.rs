//! Fresh messages beside replays of old ones, which are far more than the caches have room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_client::Client;
use trunkline_client::api::ListTopicsRequest;
use trunkline_ports::process::TaskGuard;
use trunkline_types::limits::READ_MESSAGES_MAX;

use super::case::Outcome;
use crate::bench::load::{self, Interrupted, Load};
use crate::context::Context;
use crate::failure::Failure;

/// What is replayed, in all of which a replay takes its turns.
pub(super) const TOPICS: u32 = 64;
pub(super) const FILL_MAX: Duration = Duration::from_secs(900);
/// In each datacenter.
const REPLAYS: usize = 2;
/// After a failure; the client has retried by then.
const PAUSE: Duration = Duration::from_millis(200);

/// `fill`: what is old; `fresh`: the load that is measured without and with replays.
pub(super) async fn run(
    outcome: &mut Outcome,
    bytes: u64,
    fill: Load,
    fresh: &Load,
    context: &mut Context,
    interrupted: &mut Interrupted,
) -> Result<(), Failure> {
    let size = fill.size;
    let fill = Load { acked_max: Some(bytes / size as u64), keep_topics: true, ..fill };
    let filled = load::run(&fill, context, interrupted).await?;
    let old = old(&context.client(&fill.connection)?).await?;
    let alone = load::run(fresh, context, interrupted).await?;
    let (begun, read) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let replays = replays(context, fresh, &old, &read)?;
    let beside = load::run(fresh, context, interrupted).await?;
    let seconds = begun.elapsed().as_secs_f64();
    drop::<Vec<TaskGuard>>(replays);
    outcome.take(&beside, size)?;
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    for (name, value) in [
        ("filled_gb", filled.acked as f64 * size as f64 / 1e9),
        ("replayed_mb_per_s", read.load(Ordering::Relaxed) as f64 / 1e6 / seconds),
        ("visible_p99_alone_ms", alone.visible.p99_ms),
        ("visible_p99_beside_ms", beside.visible.p99_ms),
        ("visible_p99_slowdown", beside.visible.p99_ms / alone.visible.p99_ms),
        ("pop_p99_alone_ms", alone.pop.p99_ms),
        ("pop_p99_slowdown", beside.pop.p99_ms / alone.pop.p99_ms),
    ] {
        outcome.put(name, value);
    }
    Ok(())
}

/// The topics that are there.
async fn old(client: &Client) -> Result<Arc<Vec<String>>, Failure> {
    let request = ListTopicsRequest { page_size: TOPICS, ..ListTopicsRequest::default() };
    let listed = client.list_topics(&request).await?;
    Ok(Arc::new(listed.topics.into_iter().map(|topic| topic.name).collect()))
}

fn replays(
    context: &Context,
    fresh: &Load,
    old: &Arc<Vec<String>>,
    read: &Arc<AtomicU64>,
) -> Result<Vec<TaskGuard>, Failure> {
    let all = context.client(&fresh.connection)?;
    let mut replays = Vec::new();
    for datacenter in all.datacenters() {
        for number in 0..REPLAYS {
            let (client, old, read) = (all.only(&datacenter)?, old.clone(), read.clone());
            let replay = async move {
                // Not all at the same place.
                for topic in old.iter().cycle().skip(number * old.len() / REPLAYS) {
                    replay(&client, topic, &read).await;
                }
            };
            replays.push(context.process.spawn("bench-replay", replay).abort_on_drop());
        }
    }
    Ok(replays)
}

/// Reads a topic from its first message to its last.
async fn replay(client: &Client, topic: &str, read: &AtomicU64) {
    let most = u32::try_from(READ_MESSAGES_MAX).unwrap_or(u32::MAX);
    let mut next = 1;
    loop {
        match client.read(topic, next, most, Duration::ZERO).await {
            Ok(page) if page.messages.is_empty() => return,
            Ok(page) => {
                let payloads =
                    page.messages.iter().filter_map(|one| Some(one.message.as_ref()?.payload.len()));
                read.fetch_add(payloads.sum::<usize>() as u64, Ordering::Relaxed);
                next = page.next.max(next);
            }
            Err(why) => {
                tracing::debug!(%why, "a replay's read failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
