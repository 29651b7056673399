//! What a store says each second beside its reports: up to where its index is on disk, and what it lacks.

use trunkline_types::LogName;

use super::catalog::Catalog;
use super::log::{Log, LogNo};

/// So much of a log is on disk here (exclusive end).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHeld {
    pub log: LogName,
    pub held: u64,
}

/// The held vector of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub facts_index: u64,
    /// Closed logs that end short here.
    pub lacking: Vec<LogHeld>,
    /// Logs that get no more records, are not closed, and how much of them is here: all of them, also those of which
    /// nothing is here. (Silence is never "held".)
    pub ended: Vec<LogHeld>,
}

impl Catalog {
    /// Closed logs that end short here.
    pub fn lacking(&self) -> impl Iterator<Item = LogNo> + '_ {
        let is_short = |log: &Log| log.closed.is_some_and(|end| log.accepted() < end);
        self.all_open_logs().filter(move |no| is_short(self.log(*no)))
    }

    /// The held vector of a group now.
    pub fn held(&self, group: u16) -> Held {
        let mut held = Held { facts_index: self.facts_index(group), ..Held::default() };
        for no in self.open_logs(group) {
            let log = self.log(no);
            let entry = LogHeld { log: log.name, held: log.durable() };
            match log.closed {
                Some(end) if log.durable() < end => held.lacking.push(entry),
                None if log.ended => held.ended.push(entry),
                _ => {}
            }
        }
        held
    }
}
