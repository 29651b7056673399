//! The result: a table for people, one object for programs.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Serialize;
use trunkline_wire::internal::{StatusRequest, admin_service};

use crate::admin;
use crate::context::Context;
use crate::output;

/// What was measured of one kind of operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    /// Per second, over the time of pushing.
    pub(super) rate: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
}

/// From the push in one datacenter to a reader in another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Pair {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// What the cluster says that it used, summed over its nodes. Absent where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wan_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) raft_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_seconds: Option<f64>,
}

impl Figures {
    /// As the cluster stands now; nothing where it has no admin listener that answers.
    pub(super) async fn read(context: &Context, admin: &[String]) -> Self {
        let Ok(answer) = admin::call_first(context, admin, admin_service::STATUS, &StatusRequest {}).await
        else {
            return Self::default();
        };
        let all: Vec<_> = answer.nodes.into_iter().filter_map(|node| node.status).collect();
        let sum = |name: &str| {
            let said: Vec<f64> = all.iter().filter_map(|status| status.figures.get(name).copied()).collect();
            (!said.is_empty()).then(|| said.iter().sum())
        };
        Self {
            // What the links carried where that is counted, else what stores sent over them.
            wan_bytes: sum("wan_bytes").or_else(|| sum("wan_bytes_sent")),
            // What Raft carried where that is counted, else the entries of the ordering groups.
            raft_bytes: sum("raft_bytes").or_else(|| sum("message_id_entry_bytes")),
            cpu_seconds: sum("cpu_seconds"),
        }
    }

    pub(super) fn between(before: Self, after: Self) -> Self {
        let used = |before: Option<f64>, after: Option<f64>| Some(output::round((after? - before?).max(0.0)));
        Self {
            wan_bytes: used(before.wan_bytes, after.wan_bytes),
            raft_bytes: used(before.raft_bytes, after.raft_bytes),
            cpu_seconds: used(before.cpu_seconds, after.cpu_seconds),
        }
    }
}

/// Everything that a run has shown.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) push: Latency,
    pub(super) pop: Latency,
    pub(super) visible: Latency,
    pub(super) push_by_datacenter: Vec<(String, Latency)>,
    pub(super) pop_by_datacenter: Vec<(String, Latency)>,
    pub(super) visible_by_pair: Vec<Pair>,
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
    pub(super) popped: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) fsync: Option<Duration>,
    pub(super) figures: Figures,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    push: Latency,
    pop: Latency,
    visible: Latency,
    push_by_datacenter: BTreeMap<&'a str, Latency>,
    pop_by_datacenter: BTreeMap<&'a str, Latency>,
    visible_by_pair: &'a [Pair],
    sent: u64,
    acked: u64,
    failed: u64,
    popped: u64,
    lost: u64,
    duplicated: u64,
    cores: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fsync_p50_ms: Option<f64>,
    #[serde(flatten)]
    figures: Figures,
}

impl Report {
    pub(super) fn print(&self, context: &mut Context, json: bool) -> io::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let fsync_p50_ms = self.fsync.map(|fsync| output::round(fsync.as_secs_f64() * 1_000.0));
        if json {
            return output::json(context, &self.line(cores, fsync_p50_ms));
        }
        self.table(context)?;
        let Self { sent, acked, failed, popped, lost, duplicated, .. } = self;
        let out = &mut context.stdout;
        writeln!(out, "\nsent {sent}  acknowledged {acked}  failed {failed}  popped {popped}")?;
        writeln!(out, "lost {lost}  duplicated {duplicated}")?;
        if let Some(why) = &self.first_failure {
            writeln!(out, "first failure: {why}")?;
        }
        write!(out, "{cores} cores")?;
        if let Some(ms) = fsync_p50_ms {
            write!(out, ", append and fsync of this disk: {ms:.2} ms")?;
        }
        for (what, value) in [
            ("seconds of CPU", self.figures.cpu_seconds),
            ("bytes over the WAN", self.figures.wan_bytes),
            ("bytes of Raft", self.figures.raft_bytes),
        ] {
            if let Some(value) = value {
                write!(out, ", {value:.0} {what}")?;
            }
        }
        writeln!(out)
    }

    fn line(&self, cores: usize, fsync_p50_ms: Option<f64>) -> Line<'_> {
        Line {
            push: self.push,
            pop: self.pop,
            visible: self.visible,
            push_by_datacenter: self
                .push_by_datacenter
                .iter()
                .map(|(name, one)| (name.as_str(), *one))
                .collect(),
            pop_by_datacenter: self
                .pop_by_datacenter
                .iter()
                .map(|(name, one)| (name.as_str(), *one))
                .collect(),
            visible_by_pair: &self.visible_by_pair,
            sent: self.sent,
            acked: self.acked,
            failed: self.failed,
            popped: self.popped,
            lost: self.lost,
            duplicated: self.duplicated,
            cores,
            fsync_p50_ms,
            figures: self.figures,
        }
    }

    fn table(&self, context: &mut Context) -> io::Result<()> {
        let mut table = output::table(
            &["what", "from", "to", "per second", "p50 ms", "p99 ms", "p99.9 ms"],
            &[3, 4, 5, 6],
        );
        let mut row = |what: &str, from: &str, to: &str, latency: &Latency| {
            let Latency { rate, p50_ms, p99_ms, p999_ms } = latency;
            let numbers = [
                format!("{rate:.0}"),
                format!("{p50_ms:.2}"),
                format!("{p99_ms:.2}"),
                format!("{p999_ms:.2}"),
            ];
            let words = [what, from, to].map(str::to_owned);
            table.add_row(words.into_iter().chain(numbers));
        };
        row("push", "all", "", &self.push);
        self.push_by_datacenter.iter().for_each(|(name, latency)| row("push", name, "", latency));
        row("visible", "all", "all", &self.visible);
        self.visible_by_pair.iter().for_each(|pair| row("visible", &pair.from, &pair.to, &pair.latency));
        row("pop", "", "all", &self.pop);
        self.pop_by_datacenter.iter().for_each(|(name, latency)| row("pop", "", name, latency));
        output::print(context, &table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(ms: f64) -> Latency {
        Latency { rate: 10.0, p50_ms: ms, p99_ms: ms * 2.0, p999_ms: ms * 3.0 }
    }

    #[test]
    fn json_has_exactly_the_fields_that_are_promised() {
        let report = Report {
            push: latency(1.0),
            pop: latency(2.0),
            visible: latency(3.0),
            push_by_datacenter: vec![("nyc".to_owned(), latency(1.0))],
            pop_by_datacenter: vec![],
            visible_by_pair: vec![Pair { from: "nyc".into(), to: "sea".into(), latency: latency(3.0) }],
            sent: 5,
            acked: 4,
            failed: 1,
            first_failure: None,
            popped: 4,
            lost: 0,
            duplicated: 0,
            fsync: None,
            figures: Figures { cpu_seconds: Some(1.5), ..Figures::default() },
        };
        let json = serde_json::to_string(&report.line(2, Some(0.5))).expect("serializable");
        let numbers = |ms: &str, two: &str, three: &str| {
            format!("\"rate\":10.0,\"p50_ms\":{ms},\"p99_ms\":{two},\"p999_ms\":{three}")
        };
        let (push, pop, visible) =
            (numbers("1.0", "2.0", "3.0"), numbers("2.0", "4.0", "6.0"), numbers("3.0", "6.0", "9.0"));
        let expected = format!(
            "{{\"push\":{{{push}}},\"pop\":{{{pop}}},\"visible\":{{{visible}}},\
             \"push_by_datacenter\":{{\"nyc\":{{{push}}}}},\"pop_by_datacenter\":{{}},\
             \"visible_by_pair\":[{{\"from\":\"nyc\",\"to\":\"sea\",{visible}}}],\
             \"sent\":5,\"acked\":4,\"failed\":1,\"popped\":4,\"lost\":0,\"duplicated\":0,\"cores\":2,\
             \"fsync_p50_ms\":0.5,\"cpu_seconds\":1.5}}"
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn figures_are_what_was_used_in_between() {
        let at = |bytes| Figures { wan_bytes: Some(bytes), ..Figures::default() };
        assert_eq!(Figures::between(at(10.0), at(25.0)).wan_bytes, Some(15.0));
        assert_eq!(Figures::between(Figures::default(), at(25.0)).wan_bytes, None);
    }
}
