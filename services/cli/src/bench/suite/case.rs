//! One case from its start to its outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep};
use trunkline_ports::Network;
use trunkline_wire::internal::{StartNodeRequest, StopNodeRequest, admin_service};

use super::cases::{Case, FILL, Shape, Work};
use super::cluster::{Cluster, Site};
use super::{remove, replay};
use crate::admin;
use crate::bench::figures::Figures;
use crate::bench::load::{self, Interrupted, Load};
use crate::bench::report::{Report, cores};
use crate::context::Context;
use crate::failure::Failure;

/// After its start a cluster is left alone for so long before it counts as idle.
const QUIET: Duration = Duration::from_secs(10);
const STRAGGLERS: Duration = Duration::from_secs(120);
/// Each payload is on disk so often.
const REPLICAS: f64 = 6.0;

/// What came of a case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Outcome {
    /// RFC 3339.
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) cores: usize,
    pub(super) seconds: f64,
    /// By name; what the bars are held against.
    pub(super) values: BTreeMap<String, f64>,
    /// Why it is no success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// All that the bench has said.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) bench: Value,
}

impl Outcome {
    pub(super) fn failed(case: &Case, context: &Context, failure: &Failure) -> Self {
        Self { error: Some(failure.to_string()), ..Self::begun(case.duration, context) }
    }

    fn begun(duration: Duration, context: &Context) -> Self {
        let seconds = i64::try_from(context.process.wall_clock_ms() / 1_000).unwrap_or_default();
        let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self {
            date: date.format(&Rfc3339).unwrap_or_default(),
            commit: context.commit.to_owned(),
            cores: cores(),
            seconds: duration.as_secs_f64(),
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, report: &Report, size: usize) -> Result<(), Failure> {
        self.values.extend(values(report, size));
        self.bench = serde_json::to_value(report.line(self.cores)).map_err(std::io::Error::from)?;
        let complaints = report.complaints();
        self.error = (!complaints.is_empty()).then(|| complaints.join("; "));
        Ok(())
    }

    pub(super) fn put(&mut self, name: &str, value: f64) {
        self.values.insert(name.to_owned(), value);
    }
}

/// Runs it, for `trial` instead of its own time where that is said. Nothing of it is left on disk.
pub(super) async fn run(
    case: &Case,
    site: &Site,
    trial: Option<Duration>,
    context: &mut Context,
    interrupted: &mut Interrupted,
) -> Result<Outcome, Failure> {
    remove(site.data())?;
    let duration = trial.unwrap_or(case.duration);
    let mut outcome = Outcome::begun(duration, context);
    let small_caches = matches!(case.work, Work::Replay { .. });
    let cluster = unless(interrupted, Cluster::start(site, case.wan, small_caches)).await??;
    match case.work {
        Work::Load(shape) => {
            let report = load::run(&load_of(shape, site, duration), context, interrupted).await?;
            outcome.take(&report, shape.size)?;
            cluster.stop().await?;
        }
        Work::Restart(shape, store) => {
            let load = load_of(shape, site, duration);
            let network = context.network.clone();
            let restart = restart(&network, site, store, duration);
            let (report, ()) = tokio::try_join!(load::run(&load, context, interrupted), restart)?;
            outcome.take(&report, shape.size)?;
            cluster.stop().await?;
        }
        Work::Idle => {
            idle(&mut outcome, site, duration, context, interrupted).await?;
            cluster.stop().await?;
        }
        Work::Start { bytes } => {
            let size = FILL.size;
            let fill = Load {
                acked_max: Some(bytes / size as u64),
                keep_topics: true,
                ..load_of(FILL, site, duration)
            };
            let report = load::run(&fill, context, interrupted).await?;
            outcome.take(&report, size)?;
            // Two stores in each datacenter: each has all of it.
            #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
            outcome.put("filled_gb", report.acked as f64 * size as f64 / 1e9);
            cluster.stop().await?;
            let cluster = unless(interrupted, Cluster::start(site, case.wan, false)).await??;
            outcome.put("ready_s", cluster.ready_after.as_secs_f64());
            cluster.kill()?;
            let cluster = unless(interrupted, Cluster::start(site, case.wan, false)).await??;
            outcome.put("ready_after_kill_s", cluster.ready_after.as_secs_f64());
            cluster.stop().await?;
        }
        Work::Replay { bytes, fresh } => {
            let fill = Load { topics: replay::TOPICS, ..load_of(FILL, site, replay::FILL_MAX) };
            let fresh = load_of(fresh, site, duration);
            replay::run(&mut outcome, bytes, fill, &fresh, context, interrupted).await?;
            cluster.stop().await?;
        }
    }
    remove(site.data())?;
    Ok(outcome)
}

async fn unless<T>(interrupted: &mut Interrupted, work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = &mut *interrupted => Err(Failure::Interrupted),
        done = work => Ok(done),
    }
}

fn load_of(shape: Shape, site: &Site, duration: Duration) -> Load {
    Load {
        rate: shape.rate,
        size: shape.size,
        duration,
        level: shape.level,
        topics: shape.topics,
        subscribers: shape.subscribers,
        stragglers: STRAGGLERS,
        probe_dir: site.data().to_owned(),
        connection: site.connection(),
        admin: site.admin.clone(),
        acked_max: None,
        keep_topics: false,
    }
}

async fn restart(network: &Network, site: &Site, store: &str, duration: Duration) -> Result<(), Failure> {
    sleep(duration / 3).await;
    let request = StopNodeRequest { node: store.to_owned() };
    admin::call_first(network, &site.admin, admin_service::STOP_NODE, &request).await?;
    sleep(duration / 3).await;
    let request = StartNodeRequest { node: store.to_owned() };
    admin::call_first(network, &site.admin, admin_service::START_NODE, &request).await?;
    Ok(())
}

async fn idle(
    outcome: &mut Outcome,
    site: &Site,
    duration: Duration,
    context: &Context,
    interrupted: &mut Interrupted,
) -> Result<(), Failure> {
    unless(interrupted, sleep(QUIET)).await?;
    let (begun, before) = (Instant::now(), Figures::read(&context.network, &site.admin).await);
    unless(interrupted, sleep(duration)).await?;
    let used = Figures::between(before, Figures::read(&context.network, &site.admin).await);
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(cpu) = used.cpu_seconds {
        outcome.put("cpu_percent", cpu / seconds * 100.0);
    }
    if let Some(bytes) = used.resident_bytes {
        outcome.put("resident_mb", bytes / 1e6);
    }
    Ok(())
}

/// What the bars are held against. A division by nothing leaves its value out.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn values(report: &Report, size: usize) -> impl Iterator<Item = (String, f64)> {
    let pairs = || report.visible_by_pair.iter().filter(|pair| pair.latency.rate > 0.0);
    let figures = &report.surroundings.figures;
    let (acked, size) = (report.acked as f64, size as f64);
    let disk = report.surroundings.disk.bytes_per_second;
    let f = report.append_fsync_p50_ms();
    let values = [
        ("push_p50_ms", Some(report.push.p50_ms)),
        ("push_p99_ms", Some(report.push.p99_ms)),
        ("push_p50_f", f.map(|f| report.push.p50_ms / f)),
        ("push_p99_f", f.map(|f| report.push.p99_ms / f)),
        ("pop_p99_ms", Some(report.pop.p99_ms).filter(|_| report.pop.rate > 0.0)),
        ("visible_p50_min_ms", pairs().map(|pair| pair.latency.p50_ms).reduce(f64::min)),
        ("visible_p99_ms", pairs().map(|pair| pair.latency.p99_ms).reduce(f64::max)),
        ("wan_per_payload", figures.wan_bytes.map(|bytes| bytes / (acked * size))),
        ("raft_per_message", figures.raft_bytes.map(|bytes| bytes / acked)),
        ("cpu_us_per_message", figures.cpu_seconds.map(|seconds| seconds * 1e6 / acked)),
        ("replicated_rate", report.replicated_rate),
        ("lost", Some(report.lost as f64)),
        ("duplicated", Some(report.duplicated as f64)),
        ("disk_append_fsync_p50_ms", f),
        ("disk_mb_per_s", disk.map(|bytes| bytes / 1e6)),
        (
            "disk_share_percent",
            report.replicated_rate.zip(disk).map(|(rate, disk)| rate * size * REPLICAS / disk * 100.0),
        ),
    ];
    let said = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    said.filter(|(_, value)| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::disk::Speed;
    use crate::bench::report::tests::report;

    #[test]
    fn values_follow_from_the_report() {
        let mut report = report();
        report.surroundings.figures =
            Figures { wan_bytes: Some(84_000.0), raft_bytes: Some(64.0), ..Figures::default() };
        report.surroundings.disk = Speed {
            append_fsync_p50: Some(Duration::from_micros(250)),
            bytes_per_second: Some(12_000_000.0),
        };
        report.replicated_rate = Some(100.0);
        let values: BTreeMap<_, _> = values(&report, 10_000).collect();
        for (name, expected) in [
            ("push_p50_ms", 1.0),
            ("push_p50_f", 4.0),
            ("visible_p99_ms", 6.0),
            ("wan_per_payload", 2.1),
            ("raft_per_message", 16.0),
            ("disk_share_percent", 50.0),
        ] {
            assert!((values[name] - expected).abs() < 1e-9, "{name}: {}", values[name]);
        }
        assert!(!values.contains_key("cpu_us_per_message"), "the cluster does not say");
        report.acked = 0;
        assert!(!super::values(&report, 10_000).any(|(name, _)| name == "wan_per_payload"));
    }
}
