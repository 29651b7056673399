//! How far each origin log is ordered, and which logs are closed.

use std::collections::BTreeMap;

use trunkline_types::limits::OPEN_LOGS_PER_GROUP_MAX;
use trunkline_types::{Bucket, IntervalSet, Lane, LogName, NodeId, Ordinal};

use super::entry::{LogReference, Predecessor};
use super::runs::Run;

/// What a log must wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Opened only because a successor waits for it: nothing of it is ordered until it has been named itself.
    Unknown,
    /// The first of its boot, bucket and lane.
    Nothing,
    Log(Predecessor),
}

/// A log of which more may get IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLog {
    pub name: LogName,
    /// The first sequence that is not ordered yet; 1 at first.
    pub ordered: u64,
    pub before: Before,
    /// Where its successor, once open, says that it ends (exclusive), and the index at which it said so.
    pub succeeded: Option<(u64, u64)>,
    /// What the last record that is ordered is, as a run of it alone: the next one may be said to be alike.
    pub last: Option<Run>,
}

/// Open logs by short number and by name; closed ones as an exact set for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// The last short number given; never given again.
    last_number: u32,
    open: BTreeMap<u32, OpenLog>,
    numbers: BTreeMap<LogName, u32>,
    /// (boot counter << 32 | ordinal) of closed logs.
    closed: BTreeMap<(Bucket, NodeId, Lane), IntervalSet>,
    /// node → (boots below this counter have ended, the index at which that was committed).
    ended: BTreeMap<NodeId, (u32, u64)>,
}

/// Why an assignment's part does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Closed,
    /// A number that is not open: closed, or never given.
    UnknownNumber,
    /// The predecessor named does not fit the ordinal.
    Malformed,
    TooMany,
}

impl Logs {
    pub fn get(&self, number: u32) -> Option<&OpenLog> {
        self.open.get(&number)
    }

    pub fn number(&self, log: &LogName) -> Option<u32> {
        self.numbers.get(log).copied()
    }

    pub fn named(&self, log: &LogName) -> Option<&OpenLog> {
        self.open.get(self.numbers.get(log)?)
    }

    /// (number, log), by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &OpenLog)> + '_ {
        self.open.iter().map(|(&number, log)| (number, log))
    }

    /// How many logs are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    pub fn is_closed(&self, log: &LogName) -> bool {
        self.closed.get(&(log.bucket, log.node, log.lane)).is_some_and(|closed| closed.contains(place(log)))
    }

    /// The first sequence that is not ordered; `None` for a closed log, 1 for one that is not open yet.
    pub fn ordered(&self, log: &LogName) -> Option<u64> {
        match self.named(log) {
            Some(open) => Some(open.ordered),
            None => (!self.is_closed(log)).then_some(1),
        }
    }

    /// Boots of `node` below this counter have ended, by what was committed at this index.
    pub fn ended(&self, node: NodeId) -> Option<(u32, u64)> {
        self.ended.get(&node).copied()
    }

    /// Whether the log is open and complete but for what may still turn up at some replica: the index from which on
    /// a replica's word about it counts for closing.
    pub fn closable_from(&self, log: &LogName) -> Option<u64> {
        let open = self.named(log)?;
        let by_boot = self.ended(log.node).filter(|&(counter, _)| log.boot.counter < counter);
        let by_successor = open.succeeded.filter(|&(end, _)| open.ordered == end);
        by_boot.into_iter().map(|(_, at)| at).chain(by_successor.map(|(_, at)| at)).min()
    }

    /// Whether a log with this predecessor may get IDs now.
    pub fn may_begin(&self, log: &LogName, before: Before) -> bool {
        match before {
            Before::Unknown => false,
            Before::Nothing => true,
            Before::Log(before) if before.overtaking || before.end <= 1 => true,
            Before::Log(before) => {
                let name = LogName { ordinal: Ordinal(before.ordinal), ..*log };
                match self.named(&name) {
                    Some(open) => open.ordered >= before.end,
                    None => self.is_closed(&name),
                }
            }
        }
    }

    /// The number of the log that a part names; opens it if need be. `opened` is told of each log that it opens or
    /// completes.
    pub(super) fn resolve(
        &mut self,
        index: u64,
        log: &LogReference,
        opened: &mut impl FnMut(u32, &OpenLog),
    ) -> Result<u32, Refusal> {
        let (name, predecessor) = match log {
            LogReference::Number(number) if self.open.contains_key(number) => return Ok(*number),
            LogReference::Number(_) => return Err(Refusal::UnknownNumber),
            LogReference::Name { name, predecessor } => (*name, *predecessor),
        };
        if self.is_closed(&name) {
            return Err(Refusal::Closed);
        }
        let before = before(&name, predecessor).ok_or(Refusal::Malformed)?;
        let number = match self.number(&name) {
            Some(number) => {
                let open = self.open.get_mut(&number).expect("numbers are of open logs");
                if open.before != Before::Unknown {
                    return Ok(number);
                }
                open.before = before;
                number
            }
            None => self.open(name, before)?,
        };
        opened(number, &self.open[&number]);
        self.note_predecessor(index, &name, before, opened);
        self.note_successor(index, number);
        Ok(number)
    }

    /// A log that is opened after the one that succeeds it ends where that one said.
    fn note_successor(&mut self, index: u64, number: u32) {
        let name = self.open[&number].name;
        let later = LogName { ordinal: Ordinal(name.ordinal.0.saturating_add(1)), ..name };
        let said = self.named(&later).and_then(|later| match later.before {
            Before::Log(predecessor) if predecessor.ordinal == name.ordinal.0 => {
                Some((predecessor.end, index))
            }
            _ => None,
        });
        let open = self.open.get_mut(&number).expect("the caller has opened it");
        open.succeeded = open.succeeded.or(said);
    }

    /// The log that `name` succeeds ends where `name` says; it is opened if it holds `name` up, so that it can be
    /// closed even when nothing of it is left anywhere.
    fn note_predecessor(
        &mut self,
        index: u64,
        name: &LogName,
        before: Before,
        opened: &mut impl FnMut(u32, &OpenLog),
    ) {
        let Before::Log(predecessor) = before else { return };
        let earlier = LogName { ordinal: Ordinal(predecessor.ordinal), ..*name };
        if self.is_closed(&earlier) {
            return;
        }
        let number = match self.number(&earlier) {
            Some(number) => number,
            None if self.may_begin(name, before) => return,
            None => {
                let unnamed = if predecessor.ordinal == 1 { Before::Nothing } else { Before::Unknown };
                let Ok(number) = self.open(earlier, unnamed) else { return };
                opened(number, &self.open[&number]);
                number
            }
        };
        let open = self.open.get_mut(&number).expect("numbers are of open logs");
        open.succeeded.get_or_insert((predecessor.end, index));
    }

    fn open(&mut self, name: LogName, before: Before) -> Result<u32, Refusal> {
        if self.open.len() >= OPEN_LOGS_PER_GROUP_MAX || self.last_number == u32::MAX {
            return Err(Refusal::TooMany);
        }
        self.last_number += 1;
        self.numbers.insert(name, self.last_number);
        self.open.insert(self.last_number, OpenLog { name, ordered: 1, before, succeeded: None, last: None });
        Ok(self.last_number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut OpenLog> {
        self.open.get_mut(&number)
    }

    /// True if that is news.
    pub(super) fn end_boots(&mut self, index: u64, node: NodeId, counter: u32) -> bool {
        let newer = self.ended(node).is_none_or(|(known, _)| known < counter);
        if newer {
            self.ended.insert(node, (counter, index));
        }
        newer
    }

    /// Closes a log that has come to its end and is ordered exactly up to `end`; its name if so.
    pub(super) fn close(&mut self, number: u32, end: u64) -> Option<LogName> {
        let open = self.open.get(&number)?;
        let name = open.name;
        if open.ordered != end || self.closable_from(&name).is_none() {
            return None;
        }
        self.open.remove(&number);
        self.numbers.remove(&name);
        let place = place(&name);
        self.closed.entry((name.bucket, name.node, name.lane)).or_default().insert(place..place + 1);
        Some(name)
    }

    pub(super) fn last_number(&self) -> u32 {
        self.last_number
    }

    pub(super) fn closed(&self) -> impl Iterator<Item = (&(Bucket, NodeId, Lane), &IntervalSet)> + '_ {
        self.closed.iter()
    }

    pub(super) fn ended_boots(&self) -> impl Iterator<Item = (NodeId, (u32, u64))> + '_ {
        self.ended.iter().map(|(&node, &ended)| (node, ended))
    }

    /// From a snapshot.
    pub(super) fn from_parts(
        last_number: u32,
        open: BTreeMap<u32, OpenLog>,
        closed: BTreeMap<(Bucket, NodeId, Lane), IntervalSet>,
        ended: BTreeMap<NodeId, (u32, u64)>,
    ) -> Self {
        let numbers = open.iter().map(|(&number, log)| (log.name, number)).collect();
        Self { last_number, open, numbers, closed, ended }
    }
}

/// What a log named with this predecessor waits for; `None` if the two do not fit.
pub(super) fn before(log: &LogName, predecessor: Option<Predecessor>) -> Option<Before> {
    match predecessor {
        None if log.ordinal.0 == 1 => Some(Before::Nothing),
        Some(before) if (1..log.ordinal.0).contains(&before.ordinal) && before.end >= 1 => {
            Some(Before::Log(before))
        }
        _ => None,
    }
}

fn place(log: &LogName) -> u64 {
    u64::from(log.boot.counter) << 32 | u64::from(log.ordinal.0)
}
