//! Decides what a group's leader proposes: which records are on disk in two datacenters and have no ID yet, which
//! boots have ended, which logs are complete everywhere, which facts and which producers may be forgotten, which
//! messages may go.
//!
//! Nothing here is believed when it is applied, so all of it may be lost or wrong: it only decides when to try. A new
//! leader begins with an empty one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trunkline_types::limits::{
    ASSIGNMENT_RUNS_MAX, FACT_RUNS_KEPT, FACT_RUNS_MAX, OPEN_LOGS_PER_GROUP_MAX, PEER_NUMBER_MAX,
};
use trunkline_types::{LogName, NodeId, TopicId};

use super::entry::{Assignment, Entry, Kind, LogPart, LogReference, PartRun, Predecessor, ProducerReference};
use super::logs::{Before, before};
use super::replicas::Replicas;
pub use super::runs::Run;
use super::runs::Runs;
use super::sessions::{Admission, Sessions};
pub use super::sessions::{HeldTopic, HeldVector, Source};
use super::state::State;
use super::topics::Standing;
use trims::Trims;

/// Runs that one log gets into an assignment before the next log's turn: a backlog delays nobody else.
const PART_RUNS_MAX: usize = 1_024;

/// What a store holds on disk beyond what is ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub session: u64,
    /// Begins the session: what it does not name is not held.
    pub first: bool,
    pub logs: Vec<LogReport>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    pub log: LogName,
    pub predecessor: Option<Predecessor>,
    /// Where `runs` begin.
    pub from: u64,
    /// On disk up to, exclusive. Replaces what was said before.
    pub held: u64,
    pub runs: Vec<Run>,
}

/// What a store must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    Ignored,
    /// Report all, under a higher session.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId(pub u64);

/// Something to commit. Its end is told by [`Leader::completed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub id: ProposalId,
    pub entry: Entry,
}

#[derive(Clone, Debug, Default)]
struct Log {
    runs: Runs,
    predecessor: Option<Predecessor>,
    /// Proposed up to here in this leadership; at most `ordered` when nothing is in flight.
    proposed: u64,
    /// What the last record is that was proposed, and where it ends.
    last: Option<(u64, Run)>,
    /// It was proposed to open it although nothing of it may be ordered yet.
    opening: bool,
    queued: bool,
    /// Proposed again from here, after something was lost.
    retried: Option<u64>,
    /// Committed and not taken from here on, twice: wait for news instead of trying at once.
    refused: Option<u64>,
}

/// What is in flight.
#[derive(Clone, Debug)]
enum InFlight {
    Assignment(Vec<(LogName, u64)>),
    Boots(NodeId),
    Closing,
    Trim,
    Forgetting,
}

/// The leader's memory of one leadership.
#[derive(Clone, Debug)]
pub struct Leader {
    replicas: Replicas,
    sessions: Sessions,
    logs: BTreeMap<LogName, Log>,
    /// Logs to look at, each once, in turn.
    queue: VecDeque<LogName>,
    /// Logs that wait for a topic's creation or for their predecessor.
    blocked: BTreeSet<LogName>,
    in_flight: BTreeMap<ProposalId, InFlight>,
    last_id: u64,
    trim: u64,
    trim_proposed: u64,
    fact_runs_kept: usize,
    trims: Trims,
    /// The producer that was looked at last, for whether it may be forgotten.
    looked_at: (TopicId, u32),
}

impl Leader {
    pub fn new(replicas: Replicas) -> Self {
        Self {
            replicas,
            sessions: Sessions::default(),
            logs: BTreeMap::new(),
            queue: VecDeque::new(),
            blocked: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            last_id: 0,
            trim: 0,
            trim_proposed: 0,
            fact_runs_kept: FACT_RUNS_KEPT,
            trims: Trims::default(),
            looked_at: (TopicId(0), 0),
        }
    }

    /// How many facts (runs) it keeps for stores that are away, once two datacenters have them.
    #[must_use]
    pub fn keeping(self, fact_runs_kept: usize) -> Self {
        Self { fact_runs_kept, ..self }
    }

    /// The map has changed.
    pub fn set_replicas(&mut self, replicas: Replicas) {
        self.replicas = replicas;
        let all: Vec<LogName> = self.logs.keys().copied().collect();
        all.into_iter().for_each(|log| self.enqueue(log));
    }

    /// Whether there is something to look at for [`Leader::assign`].
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn report(&mut self, state: &State, source: Source, report: Report) -> Verdict {
        if !self.replicas.know(source.store) {
            return Verdict::Ignored;
        }
        match self.sessions.admit(source, report.session, report.first) {
            Admission::Live => {}
            Admission::Old => return Verdict::Ignored,
            Admission::Unknown => return self.ask(source, report.session, false),
        }
        for log in report.logs {
            self.log_report(state, source.store, log);
        }
        Verdict::Taken
    }

    fn log_report(&mut self, state: &State, store: NodeId, report: LogReport) {
        let name = report.log;
        self.sessions.say(store, name, report.held);
        let Some(ordered) = state.logs().ordered(&name) else {
            self.logs.remove(&name);
            return;
        };
        let fits = state.shape().owns(name.bucket)
            && before(&name, report.predecessor).is_some()
            && (1..=PEER_NUMBER_MAX).contains(&report.held);
        if !fits || (self.logs.len() >= OPEN_LOGS_PER_GROUP_MAX && !self.logs.contains_key(&name)) {
            return;
        }
        let log = self.logs.entry(name).or_default();
        log.predecessor = report.predecessor;
        log.runs.drop_below(ordered);
        log.runs.add(report.from, within(&report, name));
        log.runs.drop_below(ordered);
        self.enqueue(name);
    }

    pub fn held(&mut self, source: Source, held: HeldVector) -> Verdict {
        let known = self.replicas.know(source.store);
        if known && self.sessions.hear(source, held) { Verdict::Taken } else { Verdict::Ignored }
    }

    /// How many times a store says that it lacks some of a closed log: a replica that is not whole.
    pub fn lacking(&self) -> usize {
        self.sessions.lacking()
    }

    /// Once a second from each store: the moment to look again at everything that it holds.
    pub fn digest(&mut self, state: &State, source: Source, session: u64, digest: u64) -> Verdict {
        if !self.replicas.know(source.store) {
            return Verdict::Ignored;
        }
        match self.sessions.agrees(source, session, digest) {
            Admission::Live => {}
            Admission::Old => return Verdict::Ignored,
            Admission::Unknown => return self.ask(source, session, true),
        }
        let mut doubt = None;
        let said: Vec<(LogName, u64)> = self.sessions.logs(source.store).collect();
        for (name, held) in said {
            let Some(ordered) = state.logs().ordered(&name) else {
                self.logs.remove(&name);
                continue;
            };
            if held <= ordered {
                continue;
            }
            if let Some(log) = self.logs.get_mut(&name) {
                (log.refused, log.retried) = (None, None);
                log.opening = false;
                if log.runs.covers(ordered) {
                    self.enqueue(name);
                    continue;
                }
            }
            doubt = doubt.or(Some((name, ordered)));
        }
        if self.sessions.doubt(source.store, doubt) {
            self.sessions.drop_session(source.store);
            return self.ask(source, session, true);
        }
        Verdict::Taken
    }

    /// The store's session with the voter that relays it is over.
    pub fn gone(&mut self, source: Source, session: u64) {
        self.sessions.gone(source, session);
    }

    fn ask(&mut self, source: Source, session: u64, again: bool) -> Verdict {
        if self.sessions.ask(source, session, again) { Verdict::Restart } else { Verdict::Ignored }
    }

    fn enqueue(&mut self, name: LogName) {
        if let Some(log) = self.logs.get_mut(&name)
            && !log.queued
        {
            log.queued = true;
            self.queue.push_back(name);
        }
    }

    /// The state has gone on: what waited for it is looked at again.
    pub fn advanced(&mut self) {
        for log in std::mem::take(&mut self.blocked) {
            self.enqueue(log);
        }
    }

    /// The next assignment, if anything can be ordered. `order_time_ms` is asked only if so.
    pub fn assign(
        &mut self,
        state: &State,
        map_version: u64,
        order_time_ms: impl FnOnce() -> u64,
    ) -> Option<Proposal> {
        if state.history().runs() >= FACT_RUNS_MAX {
            return None;
        }
        let mut parts = Vec::new();
        let mut upto = Vec::new();
        let mut budget = ASSIGNMENT_RUNS_MAX;
        while budget > 0
            && let Some(name) = self.queue.pop_front()
        {
            let Some((part, end)) = self.part(state, name, budget.min(PART_RUNS_MAX)) else { continue };
            budget -= part.runs.len().clamp(1, budget);
            parts.push(part);
            upto.push((name, end));
        }
        if parts.is_empty() {
            return None;
        }
        let facts_trim = self.take_trim(state).unwrap_or(0);
        let assignment = Assignment { map_version, order_time_ms: order_time_ms(), facts_trim, logs: parts };
        Some(self.proposal(Entry::Assign(assignment), InFlight::Assignment(upto)))
    }

    /// What can be ordered of one log now, and up to where.
    fn part(&mut self, state: &State, name: LogName, runs_max: usize) -> Option<(LogPart, u64)> {
        let Some(ordered) = state.logs().ordered(&name) else {
            self.logs.remove(&name);
            return None;
        };
        let log = self.logs.get_mut(&name)?;
        log.queued = false;
        log.runs.drop_below(ordered);
        let from = log.proposed.max(ordered);
        let upto = self.replicas.reached_by_two(name.bucket, |store| self.sessions.held(store, &name));
        if upto <= from || log.refused == Some(from) {
            return None;
        }
        let before = before(&name, log.predecessor)?;
        let (reference, is_open) = reference(state, name, log.predecessor);
        if !state.logs().may_begin(&name, before) {
            self.blocked.insert(name);
            let open = !is_open && !std::mem::replace(&mut log.opening, true);
            return open.then_some((LogPart { log: reference, from, runs: Vec::new() }, from));
        }
        let known = log.runs.between(from, upto, runs_max);
        let topic_known = |run: &&Run| state.topics().standing(run.topic) != Standing::Unknown;
        let known_topics = known.iter().take_while(topic_known).count();
        if known_topics < known.len() {
            self.blocked.insert(name);
        }
        let last = known[..known_topics].last()?;
        let runs = part_runs(state, log.before(state, &name, from), &known[..known_topics]);
        log.proposed = from + runs.iter().map(|run| run.count).sum::<u64>();
        let end = log.proposed;
        log.last = Some((end, Run { count: 1, ..last.without(last.count - 1) }));
        if runs.len() == runs_max {
            self.enqueue(name);
        }
        Some((LogPart { log: reference, from, runs }, end))
    }

    fn proposal(&mut self, entry: Entry, what: InFlight) -> Proposal {
        self.last_id += 1;
        let id = ProposalId(self.last_id);
        self.in_flight.insert(id, what);
        Proposal { id, entry }
    }

    /// A proposal was applied, as `state` shows, or failed, or its outcome is unknown. What of it is not ordered by
    /// now is proposed again; that is harmless if it comes after all.
    pub fn completed(&mut self, state: &State, id: ProposalId, applied: bool) {
        if !applied {
            // The trim that it may have carried, too.
            self.trim_proposed = 0;
        }
        match self.in_flight.remove(&id) {
            Some(InFlight::Assignment(logs)) => {
                logs.into_iter().for_each(|(name, upto)| self.log_completed(state, name, upto, applied));
            }
            Some(InFlight::Boots(_) | InFlight::Closing | InFlight::Forgetting | InFlight::Trim) | None => {}
        }
    }

    fn log_completed(&mut self, state: &State, name: LogName, upto: u64, applied: bool) {
        let Some(ordered) = state.logs().ordered(&name) else {
            self.logs.remove(&name);
            return;
        };
        let Some(log) = self.logs.get_mut(&name) else { return };
        let was_refused = log.refused.is_some();
        if ordered >= upto {
            (log.refused, log.retried) = (None, None);
        } else {
            // What came before it was lost: again from there. If even that is refused, only with the next digest.
            log.proposed = 0;
            match log.retried {
                Some(from) if applied && from == ordered => log.refused = Some(ordered),
                _ => log.retried = Some(ordered),
            }
        }
        if ordered < upto || was_refused {
            self.enqueue(name);
        }
    }
}

impl Log {
    /// What the record right before `from` is, if that is remembered: proposed before, or the last that is ordered.
    fn before(&self, state: &State, name: &LogName, from: u64) -> Option<Run> {
        let proposed = self.last.filter(|(end, _)| *end == from).map(|(_, run)| run);
        let ordered = || state.logs().named(name).filter(|open| open.ordered == from)?.last;
        proposed.or_else(ordered)
    }
}

/// Runs as an entry says them, the first one in short if it goes on with what was before.
fn part_runs(state: &State, before: Option<Run>, runs: &[Run]) -> Vec<PartRun> {
    let mut parts: Vec<PartRun> =
        runs.iter().map(|run| PartRun { kind: kind(state, run), count: run.count }).collect();
    if let (Some(before), Some(first), Some(part)) = (before, runs.first(), parts.first_mut())
        && before.continues_with(first)
    {
        part.kind = Kind::AsBefore;
    }
    parts
}

fn kind(state: &State, run: &Run) -> Kind {
    let topic_counter = run.topic.counter();
    let Some(produced) = run.produced else { return Kind::Topic(topic_counter) };
    let number = state.producers().number(run.topic, &produced.producer);
    let producer = number.map_or(ProducerReference::Id(produced.producer), ProducerReference::Number);
    Kind::Produced { topic_counter, producer, sequence: produced.sequence }
}

/// The runs of a report that fit its log: of its bucket, and not beyond what is held.
fn within(report: &LogReport, name: LogName) -> &[Run] {
    let mut at = report.from;
    let fit = report.runs.iter().take_while(|run| {
        at = at.saturating_add(run.count);
        run.topic.bucket() == name.bucket && at <= report.held
    });
    let fit = fit.count();
    &report.runs[..fit]
}

/// How an entry refers to a log, and whether it is open under that name already.
fn reference(state: &State, name: LogName, predecessor: Option<Predecessor>) -> (LogReference, bool) {
    match state.logs().number(&name) {
        Some(number) if state.logs().get(number).is_some_and(|log| log.before != Before::Unknown) => {
            (LogReference::Number(number), true)
        }
        _ => (LogReference::Name { name, predecessor }, false),
    }
}

mod duties;
#[cfg(test)]
mod tests;
mod trims;
