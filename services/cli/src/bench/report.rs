//! The result: a table for people, one object for programs.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::disk::Speed;
use super::figures::Figures;
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

/// Where a run was made, and what it took.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// The git commit that this program was built from.
    pub(super) commit: &'static str,
    pub(super) disk: Speed,
    pub(super) figures: Figures,
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
    /// Sent, and without a result when the run ended.
    pub(super) unanswered: u64,
    pub(super) first_failure: Option<String>,
    pub(super) popped: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    /// Acknowledged per second, until every store had everything on disk.
    pub(super) replicated_rate: Option<f64>,
    /// What the counts themselves contradict, and what is left behind.
    pub(super) wrong: Vec<String>,
    pub(super) surroundings: Surroundings,
}

#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    push: Latency,
    pop: Latency,
    visible: Latency,
    push_by_datacenter: BTreeMap<&'a str, Latency>,
    pop_by_datacenter: BTreeMap<&'a str, Latency>,
    visible_by_pair: &'a [Pair],
    sent: u64,
    acked: u64,
    failed: u64,
    unanswered: u64,
    popped: u64,
    lost: u64,
    duplicated: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicated_rate: Option<f64>,
    cores: usize,
    commit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_append_fsync_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes_per_second: Option<f64>,
    #[serde(flatten)]
    figures: &'a Figures,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Report {
    /// Why this run is no success: what the cluster did wrong, and what cannot be true.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = self.wrong.clone();
        if self.lost > 0 {
            complaints.push(format!("{} acknowledged messages were lost", self.lost));
        }
        if self.unanswered > 0 {
            complaints.push(format!("{} messages have no result", self.unanswered));
        }
        if self.acked + self.failed + self.unanswered != self.sent {
            complaints.push(format!("{} were sent, and their results are others", self.sent));
        }
        for Pair { from, to, latency } in self.visible_by_pair.iter().filter(|pair| pair.latency.rate > 0.0) {
            let light = self.surroundings.figures.distances.visible_min(from, to).as_secs_f64() * 1_000.0;
            if latency.p50_ms < light {
                let seen = format!("{from} to {to}: visible after {} ms (p50)", latency.p50_ms);
                complaints.push(format!("{seen}, which light does not do in less than {light:.1} ms"));
            }
        }
        complaints
    }

    pub(super) fn append_fsync_p50_ms(&self) -> Option<f64> {
        let p50 = self.surroundings.disk.append_fsync_p50;
        p50.map(|time| output::round(time.as_secs_f64() * 1_000.0))
    }

    pub(super) fn print(&self, context: &mut Context, json: bool) -> io::Result<()> {
        if json {
            return output::json(context, &self.line(cores()));
        }
        self.table(context)?;
        let Self { sent, acked, failed, popped, lost, duplicated, .. } = self;
        let Surroundings { commit, disk, figures } = &self.surroundings;
        let out = &mut context.stdout;
        writeln!(out, "\nsent {sent}  acknowledged {acked}  failed {failed}  popped {popped}")?;
        writeln!(out, "lost {lost}  duplicated {duplicated}")?;
        if let Some(why) = &self.first_failure {
            writeln!(out, "first failure: {why}")?;
        }
        if let Some(rate) = self.replicated_rate {
            writeln!(out, "on disk in every store: {rate:.0} messages a second")?;
        }
        write!(out, "{} cores, commit {commit}", cores())?;
        if let Some(ms) = self.append_fsync_p50_ms() {
            write!(out, ", append and fsync of this disk: {ms:.2} ms")?;
        }
        if let Some(bytes) = disk.bytes_per_second {
            write!(out, " and {:.0} MB/s", bytes / 1e6)?;
        }
        for (what, value) in [
            ("seconds of CPU", figures.cpu_seconds),
            ("bytes over the WAN", figures.wan_bytes),
            ("bytes of Raft", figures.raft_bytes),
        ] {
            if let Some(value) = value {
                write!(out, ", {value:.0} {what}")?;
            }
        }
        writeln!(out)
    }

    pub(super) fn line(&self, cores: usize) -> Line<'_> {
        Line {
            push: self.push,
            pop: self.pop,
            visible: self.visible,
            push_by_datacenter: by_name(&self.push_by_datacenter),
            pop_by_datacenter: by_name(&self.pop_by_datacenter),
            visible_by_pair: &self.visible_by_pair,
            sent: self.sent,
            acked: self.acked,
            failed: self.failed,
            unanswered: self.unanswered,
            popped: self.popped,
            lost: self.lost,
            duplicated: self.duplicated,
            replicated_rate: self.replicated_rate,
            cores,
            commit: self.surroundings.commit,
            disk_append_fsync_p50_ms: self.append_fsync_p50_ms(),
            disk_bytes_per_second: self.surroundings.disk.bytes_per_second.map(f64::round),
            figures: &self.surroundings.figures,
            errors: self.complaints(),
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

fn by_name(latencies: &[(String, Latency)]) -> BTreeMap<&str, Latency> {
    latencies.iter().map(|(name, latency)| (name.as_str(), *latency)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::light::Distances;

    fn latency(ms: f64) -> Latency {
        Latency { rate: 10.0, p50_ms: ms, p99_ms: ms * 2.0, p999_ms: ms * 3.0 }
    }

    pub(crate) fn report() -> Report {
        Report {
            push: latency(1.0),
            pop: latency(2.0),
            visible: latency(3.0),
            push_by_datacenter: vec![("nyc".to_owned(), latency(1.0))],
            pop_by_datacenter: vec![],
            visible_by_pair: vec![Pair { from: "nyc".into(), to: "sea".into(), latency: latency(3.0) }],
            sent: 5,
            acked: 4,
            failed: 1,
            unanswered: 0,
            first_failure: None,
            popped: 4,
            lost: 0,
            duplicated: 0,
            replicated_rate: None,
            wrong: vec![],
            surroundings: Surroundings {
                commit: "unknown",
                disk: Speed { append_fsync_p50: Some(Duration::from_micros(500)), ..Speed::default() },
                figures: Figures { cpu_seconds: Some(1.5), ..Figures::default() },
            },
        }
    }

    #[test]
    fn json_has_exactly_the_fields_that_are_promised() {
        let json = serde_json::to_string(&report().line(2)).expect("serializable");
        let numbers = |ms: &str, two: &str, three: &str| {
            format!("\"rate\":10.0,\"p50_ms\":{ms},\"p99_ms\":{two},\"p999_ms\":{three}")
        };
        let (push, pop, visible) =
            (numbers("1.0", "2.0", "3.0"), numbers("2.0", "4.0", "6.0"), numbers("3.0", "6.0", "9.0"));
        let expected = format!(
            "{{\"push\":{{{push}}},\"pop\":{{{pop}}},\"visible\":{{{visible}}},\
             \"push_by_datacenter\":{{\"nyc\":{{{push}}}}},\"pop_by_datacenter\":{{}},\
             \"visible_by_pair\":[{{\"from\":\"nyc\",\"to\":\"sea\",{visible}}}],\
             \"sent\":5,\"acked\":4,\"failed\":1,\"unanswered\":0,\"popped\":4,\"lost\":0,\"duplicated\":0,\
             \"cores\":2,\"commit\":\"unknown\",\"disk_append_fsync_p50_ms\":0.5,\"cpu_seconds\":1.5}}"
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn what_cannot_be_true_is_an_error() {
        let ms = Duration::from_millis;
        let far = |delay| {
            let ways = [("nyc", "sea"), ("sea", "nyc")];
            Distances::new(ways.map(|(from, to)| (from.to_owned(), to.to_owned(), delay)))
        };
        let with = |change: fn(&mut Report), delay| {
            let mut report = report();
            report.surroundings.figures.distances = far(delay);
            change(&mut report);
            report.complaints()
        };
        assert_eq!(with(|_| {}, ms(1)), Vec::<String>::new());
        for (change, says) in [
            ((|_| {}) as fn(&mut Report), "light"),
            (|report| report.lost = 1, "lost"),
            (|report| report.sent = 6, "sent"),
            (|report| report.unanswered = 1, "no result"),
            (|report| report.wrong = vec!["odd".to_owned()], "odd"),
        ] {
            // In 3 ms a message goes one way, is committed and told: not at 1.5 ms each.
            let delay = if says == "light" { Duration::from_micros(1_500) } else { ms(0) };
            let complaints = with(change, delay);
            assert!(complaints.iter().any(|complaint| complaint.contains(says)), "{says}: {complaints:?}");
        }
    }
}
