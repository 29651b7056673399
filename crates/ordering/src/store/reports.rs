//! What a session with a voter is told of one group: all that reaches beyond what is ordered at its start, then what
//! changes, bounded per log and report.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_types::LogName;
use trunkline_types::limits::REPORT_RUNS_PER_LOG_MAX;

use super::catalog::Catalog;
use super::log::LogNo;
use super::runs::Run;
use crate::group::{self, Predecessor};

/// Logs in one report; runs in one report.
const LOGS_PER_REPORT_MAX: usize = 512;
const RUNS_PER_REPORT_MAX: usize = 16_384;

/// What is said of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    pub log: LogName,
    /// The runs begin here.
    pub from: u64,
    /// On disk here up to, not including; 0: it is closed, and of this session no more.
    pub held: u64,
    pub runs: Vec<Run>,
    pub predecessor: Option<Predecessor>,
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub session: u64,
    /// The first of its session: what it and those after it do not name is not held beyond what is ordered.
    pub first: bool,
    pub logs: Vec<LogReport>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    held: u64,
    runs_end: u64,
}

/// One group's reports within one boot of the store.
#[derive(Clone, Debug)]
pub struct Reports {
    group: u16,
    session: u64,
    first_due: bool,
    told: BTreeMap<LogName, Told>,
    touched: BTreeSet<LogNo>,
    /// Told, and closed since.
    closed: BTreeSet<LogName>,
}

impl Reports {
    pub fn new(group: u16) -> Self {
        let (told, touched, closed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { group, session: 0, first_due: false, told, touched, closed }
    }

    /// A new session: everything is told again.
    pub fn restart(&mut self, catalog: &Catalog) {
        self.session += 1;
        self.first_due = true;
        self.told.clear();
        self.closed.clear();
        self.touched = catalog.open_logs(self.group).collect();
    }

    /// Something of this log has changed.
    pub fn touch(&mut self, log: LogNo) {
        if self.session > 0 {
            self.touched.insert(log);
        }
    }

    /// A log has left the catalog: if it was told of, nothing is said of it any more.
    pub fn closed(&mut self, log: LogName) {
        if self.told.contains_key(&log) {
            self.closed.insert(log);
        }
    }

    /// The next report, `None` once everything has been told.
    pub fn next(&mut self, catalog: &Catalog) -> Option<Report> {
        let mut report = Report { session: self.session, first: self.first_due, logs: Vec::new() };
        let mut runs = 0;
        while report.logs.len() < LOGS_PER_REPORT_MAX
            && let Some(log) = self.closed.pop_first()
        {
            self.told.remove(&log);
            report.logs.push(LogReport { log, from: 0, held: 0, runs: Vec::new(), predecessor: None });
        }
        while report.logs.len() < LOGS_PER_REPORT_MAX && runs < RUNS_PER_REPORT_MAX {
            let Some(no) = self.touched.pop_first() else { break };
            if let Some(log) = self.of(catalog, no) {
                runs += log.runs.len();
                report.logs.push(log);
            }
        }
        if report.logs.is_empty() && !report.first {
            return None;
        }
        self.first_due = false;
        Some(report)
    }

    fn of(&mut self, catalog: &Catalog, no: LogNo) -> Option<LogReport> {
        let log = catalog.get(no)?;
        if log.closed.is_some() {
            return None; // What was told of it stands until it is complete here, in the digest too.
        }
        let (held, ordered) = (log.durable(), log.ordered());
        let before = self.told.get(&log.name).copied();
        if before.is_none() && held <= ordered {
            return None;
        }
        let from = before.map_or(ordered, |told| told.runs_end.max(ordered));
        let outstanding = log.runs().count_below(from);
        let budget = REPORT_RUNS_PER_LOG_MAX.saturating_sub(outstanding);
        let (runs, runs_end) = log.runs().take(from, held, budget);
        if runs.is_empty() && before.is_some_and(|told| told.held == held) {
            return None;
        }
        self.told.insert(log.name, Told { held, runs_end });
        // Where more is ordered than is here, there are no runs to tell.
        let from = from.min(held);
        Some(LogReport { log: log.name, from, held, runs, predecessor: log.predecessor })
    }

    /// The session's number, the digest of what it was told, and of how many logs that is.
    pub fn digest(&self) -> (u64, u64, usize) {
        let digest = group::digest(self.told.iter().map(|(&name, told)| (name, told.held)));
        (self.session, digest, self.told.len())
    }

    /// Whether everything that changed has been told: only then a digest means anything.
    pub fn is_quiet(&self) -> bool {
        self.touched.is_empty() && self.closed.is_empty() && !self.first_due
    }
}
