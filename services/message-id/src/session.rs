//! A store's session: what it reports goes towards the leaders of its groups, what was decided comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use trunkline_ports::{Receiver, Responder};
use trunkline_types::limits::{HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_types::{Boot, GroupId, NodeId};
use trunkline_wire::Status;
use trunkline_wire::internal::{
    Digest, Heartbeat, Held, RelayedFrame, Report, RestartReports, SessionHello, SessionRequest,
    SessionRequests, SessionResponses, SessionWelcome, relayed_frame, session_request, session_response,
};
use trunkline_wire::short::Restoring;
use trunkline_wire::status::{self, reason};

use crate::facts;
use crate::member::Member;
use crate::relay::{Path, Relayed, Restart, gone, is_new_way};
use crate::route::Route;
use crate::voter::Voter;
use crate::words::Words;

/// Serves one store's session.
///
/// # Errors
/// What the store is told at its end; it opens another session then.
pub(crate) async fn serve(
    voter: Arc<Voter>,
    mut requests: Receiver<SessionRequests>,
    responses: Responder<SessionResponses>,
) -> Result<(), Status> {
    let first = timeout_at(Instant::now() + SILENCE_MAX, requests.next()).await.map_err(|_| silent())??;
    let mut first = first.unwrap_or_default().requests.into_iter();
    let Some(session_request::What::Hello(hello)) = first.next().and_then(|request| request.what) else {
        return Err(Status::invalid_argument("malformed message: the first one is no hello"));
    };
    voter.host.check(hello.envelope.as_ref())?;
    let map = voter.host.map();
    if hello.envelope.as_ref().is_some_and(|envelope| envelope.map_version != map.version) {
        // What concerns the store would be told by an older map than that by which it takes it.
        return Err(status::unavailable(reason::STALE, "the store knows a newer cluster map"));
    }
    let wanted = wanted(&voter, &hello)?;
    if wanted.iter().any(|(member, _)| voter.is_bypassed(member.number)) {
        return Err(bypassed());
    }
    let envelope = hello.envelope.unwrap_or_default();
    let store = NodeId(envelope.node);
    let welcome = SessionWelcome { envelope: Some(voter.host.envelope()) };
    let (words, written) = Words::to(responses);
    words.say(session_response::What::Welcome(welcome)).await?;
    let (path, restarts) = voter.new_path();
    let groups = wanted.iter().map(|(member, _)| (member.number, Reporting::default())).collect();
    let reports =
        Reports { voter: voter.clone(), store, boot: envelope.boot(), path, groups, words: words.clone() };
    let pumps: FuturesUnordered<_> = wanted
        .into_iter()
        .map(|(member, from)| facts::pump(member, map.clone(), store, from, words.clone()))
        .collect();
    let mut map_changes = voter.host.map.clone();
    let changed = map_changes.wait_for(|now| now.version != map.version);
    tokio::select! {
        biased;
        () = voter.shutdown.draining() => Err(status::unavailable(reason::DRAINING, "the voter ends")),
        Ok(_) = changed => Err(status::failed_precondition(reason::STALE, "the cluster map has changed")),
        ended = reports.run(first, requests, restarts) => ended,
        ended = pumped(pumps) => ended,
        // Last, so that it takes all that they have to say.
        ended = written => ended,
    }
}

/// The groups of a hello, each with the first fact index wanted.
fn wanted(voter: &Voter, hello: &SessionHello) -> Result<Vec<(Arc<Member>, u64)>, Status> {
    let mut wanted: Vec<(Arc<Member>, u64)> = Vec::new();
    for cursor in &hello.groups {
        let member = voter.member_packed(cursor.group)?;
        if wanted.iter().any(|(other, _)| other.number == member.number) {
            return Err(status::invalid("groups", "names a group twice"));
        }
        wanted.push((member.clone(), cursor.facts_from));
    }
    Ok(wanted)
}

async fn pumped<F: Future<Output = Result<(), Status>>>(
    mut pumps: FuturesUnordered<F>,
) -> Result<(), Status> {
    match pumps.next().await {
        Some(ended) => ended,
        None => std::future::pending().await,
    }
}

/// The store goes to the next voter: one that hears the leader.
fn bypassed() -> Status {
    status::unavailable(reason::UNREACHABLE, "a leader is reached only through another voter")
}

pub(crate) fn silent() -> Status {
    status::unavailable(reason::UNREACHABLE, "the session was silent")
}

/// The reporting half of a session. When it is dropped, what the store has said by it counts no more.
struct Reports {
    voter: Arc<Voter>,
    store: NodeId,
    boot: Boot,
    path: Path,
    groups: BTreeMap<u16, Reporting>,
    words: Words,
}

/// One group's reports.
#[derive(Clone, Copy, Debug, Default)]
struct Reporting {
    route: Route,
    /// The report session last seen; 0: none yet.
    session: u64,
    /// The store was asked to begin anew: until it does, the rest of the old session is dropped.
    asked: bool,
}

impl Reports {
    async fn run(
        mut self,
        first: impl Iterator<Item = SessionRequest>,
        mut requests: Receiver<SessionRequests>,
        mut restarts: mpsc::Receiver<Restart>,
    ) -> Result<(), Status> {
        let mut routes = self.voter.routes.subscribe();
        self.follow_routes(&routes.borrow_and_update().clone());
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_at = Instant::now() + SILENCE_MAX;
        let mut names = Restoring::default();
        self.all_said(first, &mut names)?;
        loop {
            tokio::select! {
                biased;
                _ = routes.changed() => {
                    let now = routes.borrow_and_update().clone();
                    for group in self.follow_routes(&now) {
                        self.ask(group).await?;
                    }
                }
                Some(restart) = restarts.recv() => self.ask(restart.group).await?,
                _ = heartbeat.tick() => {
                    if self.groups.keys().any(|group| self.voter.is_bypassed(*group)) {
                        return Err(bypassed());
                    }
                    self.words.say(session_response::What::Heartbeat(Heartbeat {})).await?;
                }
                // Last but for the silence: it may always be ready.
                request = requests.next() => {
                    let Some(message) = request? else { return Ok(()) };
                    silent_at = Instant::now() + SILENCE_MAX;
                    self.all_said(message.requests.into_iter(), &mut names)?;
                }
                () = tokio::time::sleep_until(silent_at) => return Err(silent()),
            }
        }
    }

    /// Takes note of the routes; the groups whose reports must begin anew.
    fn follow_routes(&mut self, now: &BTreeMap<u16, Route>) -> Vec<u16> {
        let mut anew = Vec::new();
        for (&number, group) in &mut self.groups {
            let route = now.get(&number).copied().unwrap_or_default();
            let before = std::mem::replace(&mut group.route, route);
            if is_new_way(before, route) {
                anew.push(number);
            }
        }
        anew
    }

    /// Asks the store to begin a group's reports anew, unless it has not begun or is asked already.
    async fn ask(&mut self, number: u16) -> Result<(), Status> {
        let Some(group) = self.groups.get_mut(&number).filter(|group| group.session > 0 && !group.asked)
        else {
            return Ok(());
        };
        group.asked = true;
        let restart = RestartReports { group: GroupId::ordering(number).to_u32() };
        self.words.say(session_response::What::Restart(restart)).await
    }

    fn all_said(
        &mut self,
        requests: impl Iterator<Item = SessionRequest>,
        names: &mut Restoring,
    ) -> Result<(), Status> {
        for mut request in requests {
            names.restore(&mut request)?;
            self.said(request)?;
        }
        Ok(())
    }

    fn said(&mut self, request: SessionRequest) -> Result<(), Status> {
        match request.what {
            Some(session_request::What::Report(report)) => self.report(report),
            Some(session_request::What::Held(held)) => self.held(held),
            Some(session_request::What::Digest(digest)) => self.digest(digest),
            Some(session_request::What::Heartbeat(Heartbeat {})) => Ok(()),
            Some(session_request::What::Hello(_)) | None => Err(Status::invalid_argument(
                "malformed message: a session says hello once, and then something",
            )),
        }
    }

    fn report(&mut self, report: Report) -> Result<(), Status> {
        let (group, packed) = (self.group(report.group)?, report.group);
        if report.first {
            group.asked = false;
            group.session = report.session;
        }
        if !group.asked && group.session == report.session {
            self.forward(packed, relayed_frame::What::Report(report));
        }
        Ok(())
    }

    fn held(&mut self, held: Held) -> Result<(), Status> {
        self.group(held.group)?;
        self.forward(held.group, relayed_frame::What::Held(held));
        Ok(())
    }

    fn digest(&mut self, digest: Digest) -> Result<(), Status> {
        let group = self.group(digest.group)?;
        if !group.asked && group.session == digest.session {
            self.forward(digest.group, relayed_frame::What::Digest(digest));
        }
        Ok(())
    }

    fn group(&mut self, packed: u32) -> Result<&mut Reporting, Status> {
        let number = GroupId::from_u32(packed).map_or(u16::MAX, |group| group.number);
        let group = self.groups.get_mut(&number).filter(|_| packed == GroupId::ordering(number).to_u32());
        group.ok_or_else(|| status::invalid("group", "is not one that the hello named"))
    }

    fn forward(&self, packed: u32, what: relayed_frame::What) {
        let Ok(member) = self.voter.member_packed(packed) else { return };
        let frame = RelayedFrame {
            store: self.store.0,
            boot: Some(self.boot.into()),
            what: Some(what),
            hops: 0,
            number: 0,
        };
        self.voter.forward(member, Relayed { path: self.path.clone(), frame });
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        for (number, group) in self.groups.iter().filter(|(_, group)| group.session > 0) {
            let Some(member) = self.voter.members.get(number) else { continue };
            let frame = gone(member.id().to_u32(), self.store, self.boot, group.session, 0);
            self.voter.forward(member, Relayed { path: self.path.clone(), frame });
        }
    }
}
