//! `/metrics` for Prometheus, `/health` for probes that do not speak gRPC.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use trunkline_transport::{Page, Pages, Wan};

use super::Subject;

const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn pages(subject: &Subject) -> Pages {
    let (metrics, wan, healthy) = (subject.metrics.clone(), subject.wan.clone(), subject.healthy.clone());
    Pages::new(move |path| match path {
        "/metrics" => Some(page(200, METRICS, metrics.text(process(wan.as_deref())))),
        "/health" if healthy() => Some(page(200, TEXT, "serving\n")),
        "/health" => Some(page(503, TEXT, "not serving\n")),
        _ => None,
    })
}

fn page(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Page {
    Page { status, content_type, body: body.into() }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    from: String,
    to: String,
}

/// What is the operating system process's own.
fn process(wan: Option<&Wan>) -> Registry {
    let mut registry = Registry::default();
    let usage = usage().unwrap_or_default();
    let cpu = ConstCounter::new(usage.cpu_seconds);
    registry.register("process_cpu_seconds", "User and system time of this process", cpu);
    let memory = ConstGauge::new(usage.resident_bytes);
    registry.register("process_resident_memory_bytes", "Memory of this process", memory);
    if let Some(wan) = wan {
        let bytes: Family<Way, Counter<u64, AtomicU64>> = Family::default();
        for way in wan.bytes() {
            bytes.get_or_create(&Way { from: way.from.0, to: way.to.0 }).inc_by(way.bytes);
        }
        registry.register("trunkline_wan_bytes", "Bytes that arrived from one datacenter in another", bytes);
    }
    registry
}

/// What the operating system process has used, by figure name. In `dev` it runs every node: what it used, the cluster
/// used (`trunkline bench` shows what a run took).
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn used(wan: &Wan) -> [(String, f64); 3] {
    let bytes: u64 = wan.bytes().into_iter().map(|way| way.bytes).sum();
    let usage = usage().unwrap_or_default();
    [
        ("cpu_seconds".to_owned(), usage.cpu_seconds),
        ("resident_bytes".to_owned(), usage.resident_bytes as f64),
        ("wan_bytes".to_owned(), bytes as f64),
    ]
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
}

/// From /proc: `None` where there is none.
fn usage() -> Option<Usage> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14, 15 (ticks of a hundredth of a second) and 24 (pages of 4 KiB) of proc(5)'s stat. The name in field 2 may
/// hold anything, so they are counted from its closing parenthesis.
#[allow(clippy::cast_precision_loss, reason = "hundredths of seconds of a process fit a double")]
fn parse(stat: &str) -> Option<Usage> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Usage { cpu_seconds: (field(14)? + field(15)?) as f64 / 100.0, resident_bytes: field(24)? * 4_096 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_found_whatever_its_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 0 9 0 0 0 150 50 0 0 20 0 4 0 100 99999 25 0 0 0";
        assert_eq!(parse(stat), Some(Usage { cpu_seconds: 2.0, resident_bytes: 102_400 }));
        assert_eq!(parse("nonsense"), None);
        assert!(usage().is_some_and(|usage| usage.resident_bytes > 0));
    }
}
