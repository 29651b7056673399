//! Sessions with voters: reports and held vectors go out, facts come in and are taken into the index.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use trunkline_ordering::store::{Catalog, LogNo, Reports, Row, Settled, ToldTopics};
use trunkline_types::limits::WORDS_BYTES_MAX;
use trunkline_types::{LogName, TopicId};
use trunkline_wire::Message as _;
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal::{
    Digest, Facts, GroupCursor, SessionHello, SessionRequest, SessionRequests, session_request,
    session_response,
};
use trunkline_wire::short::Shortening;

use super::Worker;
use crate::convert;
use crate::layout::Layout;
use crate::outlet::Outlet;

/// Held vectors and digests that wait for a voter that does not read.
const DUE_MAX: usize = 1_024;

#[derive(Debug)]
struct Session {
    stream: u64,
    outlet: Outlet<SessionRequests>,
    names: Shortening,
    hello_due: bool,
    due: VecDeque<Due>,
    /// There was no room for all that was to be said: it goes on as soon as there is.
    cut_short: bool,
    /// Reports and what is said once a second take turns, and so do groups.
    after_report: bool,
    last_group: u16,
}

/// What is said once a second.
#[derive(Debug)]
enum Due {
    Held(u16),
    Digest(u16),
}

#[derive(Debug)]
struct GroupReports {
    plan: usize,
    reports: Reports,
    topics: ToldTopics,
    /// Something is to be reported.
    dirty: bool,
    /// The voter has applied so much, and said all facts up to there.
    applied: u64,
    /// The index is being copied from another store: facts are of no use until that is done.
    copying: bool,
}

impl GroupReports {
    /// Everything is said anew.
    fn restart(&mut self, catalog: &Catalog) {
        self.reports.restart(catalog);
        self.topics.restart(catalog);
        self.dirty = true;
    }
}

/// This store's sessions, one per plan, and its reports, one per group.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions: BTreeMap<usize, Session>,
    groups: BTreeMap<u16, GroupReports>,
}

impl Sessions {
    pub(crate) fn new(layout: &Layout) -> Self {
        let mut sessions = Self { sessions: BTreeMap::new(), groups: BTreeMap::new() };
        sessions.follow(layout);
        sessions
    }

    /// Another layout: every session begins anew; report sessions count on.
    pub(super) fn follow(&mut self, layout: &Layout) {
        self.sessions.clear();
        let mut before = std::mem::take(&mut self.groups);
        for (plan, with) in layout.plans.iter().enumerate() {
            for &group in &with.groups {
                let mut known = before.remove(&group).unwrap_or_else(|| GroupReports {
                    plan,
                    reports: Reports::new(group),
                    topics: ToldTopics::new(group),
                    dirty: false,
                    applied: 0,
                    copying: false,
                });
                known.plan = plan;
                self.groups.insert(group, known);
            }
        }
    }

    /// What there is to say of a topic has changed.
    pub(super) fn topic_changed(&mut self, group: u16, topic: TopicId) {
        if let Some(known) = self.groups.get_mut(&group) {
            known.topics.touch(topic);
        }
    }

    /// Ends a group's session; its task dials again.
    fn end(&mut self, group: u16) {
        if let Some(plan) = self.groups.get(&group).map(|group| group.plan) {
            self.sessions.remove(&plan);
        }
    }

    /// A log leaves memory.
    pub(super) fn log_closed(&mut self, group: u16, log: LogName) {
        if let Some(known) = self.groups.get_mut(&group) {
            known.reports.closed(log);
            known.dirty = true;
        }
    }

    /// Something is to be said at the next tick.
    pub(super) fn want_tick(&self) -> bool {
        let has_session = |plan| self.sessions.get(plan).is_some_and(|session| !session.cut_short);
        self.sessions.values().any(|session| !session.cut_short && !session.due.is_empty())
            || self.groups.values().any(|group| group.dirty && has_session(&group.plan))
    }

    /// The index is copied from here on. False if it is already.
    pub(crate) fn begin_copying(&mut self, group: u16) -> bool {
        self.groups.get_mut(&group).is_some_and(|known| !std::mem::replace(&mut known.copying, true))
    }

    /// The copy has ended: a new session takes the facts that follow it.
    pub(crate) fn end_copying(&mut self, group: u16) {
        if let Some(known) = self.groups.get_mut(&group) {
            known.copying = false;
        }
        self.end(group);
    }
}

impl Worker {
    pub(super) fn session_up(&mut self, plan: usize, stream: u64, outlet: Outlet<SessionRequests>) {
        // What an earlier voter had applied, this one may not have.
        for group in self.sessions.groups.values_mut().filter(|group| group.plan == plan) {
            group.applied = 0;
        }
        let session = Session {
            stream,
            outlet,
            names: Shortening::default(),
            hello_due: true,
            due: VecDeque::new(),
            cut_short: false,
            after_report: false,
            last_group: 0,
        };
        self.sessions.sessions.insert(plan, session);
        for group in self.sessions.groups.values_mut().filter(|group| group.plan == plan) {
            group.restart(&self.catalog);
        }
    }

    /// Something that a session is told of this log has changed.
    pub(super) fn reportable(&mut self, log: LogNo) {
        let Some(group) = self.catalog.get(log).map(|log| self.catalog.group_of(log.name.bucket)) else {
            return;
        };
        if let Some(known) = self.sessions.groups.get_mut(&group) {
            known.reports.touch(log);
            known.dirty = true;
        }
    }

    pub(super) fn session_frame(&mut self, plan: usize, stream: u64, what: session_response::What) {
        if self.sessions.sessions.get(&plan).is_none_or(|session| session.stream != stream) {
            return;
        }
        let taken = match what {
            session_response::What::Welcome(_) | session_response::What::Heartbeat(_) => Ok(()),
            session_response::What::Facts(facts) => self.take_facts(facts),
            session_response::What::Restart(restart) => convert::ordering_group(restart.group).map(|group| {
                if let Some(known) = self.sessions.groups.get_mut(&group) {
                    known.restart(&self.catalog);
                }
            }),
            session_response::What::Behind(behind) => {
                convert::ordering_group(behind.group).and_then(|group| {
                    self.begin_copy(group, number(behind.facts_from, "behind.facts_from")?);
                    Ok(())
                })
            }
        };
        if let Err(malformed) = taken {
            tracing::warn!(%malformed, "a session is ended");
            self.sessions.sessions.remove(&plan);
        }
    }

    fn take_facts(&mut self, facts: Facts) -> Result<(), Malformed> {
        let group = convert::ordering_group(facts.group)?;
        if self.sessions.groups.get(&group).is_none_or(|known| known.copying) {
            return Ok(());
        }
        let applied = number(facts.applied, "facts.applied")?;
        let (mut rows, mut settled) = (Vec::new(), Vec::new());
        let mut inconsistent = None;
        for at in facts.at {
            let at = convert::facts_at(at)?;
            if let Err(error) = self.catalog.stage(group, at, &mut rows, &mut settled) {
                inconsistent = Some(error);
                break;
            }
        }
        if inconsistent.is_none()
            && let Some(known) = self.sessions.groups.get_mut(&group)
        {
            // Alone it is worth no write: it goes with the next facts, or within the second.
            known.applied = known.applied.max(applied);
            if !rows.is_empty() {
                self.catalog.stage_index(group, known.applied, &mut rows, &mut settled);
            }
        }
        self.take(rows, settled);
        let (me, boot) = (self.me(), self.host.identity.boot.counter);
        if self.catalog.boots_ended(group).any(|(node, counter)| node == me && counter > boot) {
            self.give_up("a later boot of this node was seen");
        }
        if let Some(error) = inconsistent {
            tracing::error!(group, %error, "the facts do not continue the index: the session starts again");
            self.sessions.end(group);
        }
        Ok(())
    }

    /// What was staged: orderings are told at once, for they are committed, and their rows go with the next write of
    /// records; what is said of this store's disk waits until they are there.
    pub(crate) fn take(&mut self, rows: Vec<Row>, settled: Vec<Settled>) {
        self.write_rows(rows);
        let (later, now): (Vec<_>, Vec<_>) = settled.into_iter().partition(Settled::needs_disk);
        self.settle(&now);
        self.commit.settle(later);
    }

    /// Held vectors and digests, once a second; and what voters have applied without anything to tell.
    pub(super) fn session_second(&mut self) {
        let (mut rows, mut settled) = (Vec::new(), Vec::new());
        for (&group, known) in &mut self.sessions.groups {
            self.catalog.stage_index(group, known.applied, &mut rows, &mut settled);
            if let Some(session) = self.sessions.sessions.get_mut(&known.plan)
                && session.due.len() < DUE_MAX
            {
                session.due.extend([Due::Held(group), Due::Digest(group)]);
            }
        }
        self.take(rows, settled);
    }

    pub(super) fn fill_sessions(&mut self) {
        self.sessions.sessions.retain(|_, session| !session.outlet.is_closed());
        let tick = self.pace.is_open();
        let due = |session: &Session| tick || session.hello_due || session.cut_short;
        let sessions = self.sessions.sessions.iter().filter(|(_, session)| due(session));
        let plans: Vec<usize> = sessions.map(|(&plan, _)| plan).collect();
        for plan in plans {
            while self.fill_session(plan) {}
        }
    }

    /// Sends one message if there is something to say and room for it.
    fn fill_session(&mut self, plan: usize) -> bool {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        while bytes < WORDS_BYTES_MAX
            && let Some(what) = self.next_request(plan)
            && let Some(session) = self.sessions.sessions.get_mut(&plan)
        {
            let mut request = SessionRequest { what: Some(what) };
            session.names.shorten(&mut request);
            bytes += request.encoded_len();
            requests.push(request);
        }
        let Some(session) = self.sessions.sessions.get(&plan).filter(|_| !requests.is_empty()) else {
            return false;
        };
        session.outlet.send(SessionRequests { requests });
        true
    }

    /// What is to be said next, if there is room for it.
    fn next_request(&mut self, plan: usize) -> Option<session_request::What> {
        let session = self.sessions.sessions.get_mut(&plan)?;
        session.cut_short = !session.outlet.has_room();
        if session.cut_short {
            return None;
        }
        if std::mem::take(&mut session.hello_due) {
            return Some(self.hello(plan));
        }
        if std::mem::replace(&mut session.after_report, false)
            && let Some(what) = self.next_due(plan)
        {
            return Some(what);
        }
        self.next_report(plan).or_else(|| self.next_due(plan))
    }

    /// The next report, of the next group that has one.
    fn next_report(&mut self, plan: usize) -> Option<session_request::What> {
        let Sessions { sessions, groups } = &mut self.sessions;
        let session = sessions.get_mut(&plan)?;
        let last = session.last_group;
        let after = groups.range((Bound::Excluded(last), Bound::Unbounded));
        let order: Vec<u16> = after.chain(groups.range(..=last)).map(|(&group, _)| group).collect();
        for group in order {
            let Some(known) = groups.get_mut(&group).filter(|known| known.plan == plan && known.dirty) else {
                continue;
            };
            if let Some(report) = known.reports.next(&self.catalog) {
                (session.last_group, session.after_report) = (group, true);
                return Some(convert::report(group, report));
            }
            known.dirty = false;
        }
        None
    }

    /// What is due once a second. A digest comes after all reports of its group.
    fn next_due(&mut self, plan: usize) -> Option<session_request::What> {
        let Sessions { sessions, groups } = &mut self.sessions;
        let session = sessions.get_mut(&plan)?;
        loop {
            let group = match *session.due.front()? {
                Due::Held(group) => {
                    session.due.pop_front();
                    let topics = groups
                        .get_mut(&group)
                        .map(|known| known.topics.next(&self.catalog, |topic| self.sizes.beyond(topic)));
                    let held = self.catalog.held(group);
                    return Some(convert::held(group, held, topics.unwrap_or_default()));
                }
                Due::Digest(group) => group,
            };
            let known = groups.get_mut(&group)?;
            if let Some(report) = known.reports.next(&self.catalog) {
                return Some(convert::report(group, report));
            }
            known.dirty = false;
            session.due.pop_front();
            if known.reports.is_quiet() {
                return Some(digest(group, known.reports.digest()));
            }
        }
    }

    fn hello(&self, plan: usize) -> session_request::What {
        let groups = self.layout.plans.get(plan).map_or(&[][..], |plan| &plan.groups);
        let cursor = |&group: &u16| GroupCursor {
            group: convert::packed(group),
            facts_from: self.catalog.facts_from(group),
        };
        let groups = groups.iter().map(cursor).collect();
        session_request::What::Hello(SessionHello { envelope: Some(self.host.envelope()), groups })
    }
}

fn digest(group: u16, (session, digest, logs): (u64, u64, usize)) -> session_request::What {
    let logs = u32::try_from(logs).unwrap_or(u32::MAX);
    session_request::What::Digest(Digest { group: convert::packed(group), session, digest, logs })
}
