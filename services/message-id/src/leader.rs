//! Leads one group while this node is its leader: takes reports, proposes what they allow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use trunkline_ordering::group::{Leader, Proposal, ProposalId, Shape, Source, State, Verdict};
use trunkline_ports::{Committed, Leadership, ProposeError};
use trunkline_types::limits::{ASSIGNMENTS_IN_FLIGHT_MAX, HELD_INTERVAL};
use trunkline_types::{Boot, ClusterMap, NodeId, TopicId};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::relayed_frame::What;

use crate::convert;
use crate::member::Member;
use crate::metrics::Share;
use crate::order_time::GroupTime;
use crate::positions;
use crate::relay::{Relayed, Restart};
use crate::voter::{Voter, replicas};

/// A proposal whose end is not known by then is proposed again; harmless if it comes after all.
const PROPOSAL_DEADLINE: Duration = Duration::from_secs(5);
/// How often it is asked what subscriptions have acknowledged, where that is waited for.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// Reports taken before the next look at what they allow.
const REPORTS_AT_ONCE: usize = 256;

/// A proposal's end, in which term.
type Ended = (u64, ProposalId, Result<Committed, ProposeError>);

/// Runs on every voter, and does something on the leader.
pub(crate) async fn run(voter: Arc<Voter>, member: Arc<Member>, reports: mpsc::Receiver<Relayed>) {
    Driver::new(voter, member).run(reports).await;
}

/// What happens to a driver.
enum Event {
    Leadership,
    DutiesDue,
    Ended(Ended),
    /// What subscriptions have acknowledged, where that was asked.
    Acknowledged(BTreeMap<TopicId, u64>),
    /// An operator has confirmed the clocks.
    Confirmed,
    Map,
    Applied,
    Reported(Relayed),
    ProposalDue,
}

struct Driver {
    shape: Shape,
    voter: Arc<Voter>,
    member: Arc<Member>,
    leadership: watch::Receiver<Leadership>,
    applied: watch::Receiver<u64>,
    map: watch::Receiver<Arc<ClusterMap>>,
    /// The term that this node leads in, with its memory of it.
    leading: Option<(u64, Leader)>,
    time: GroupTime,
    lacking: Share,
    in_flight: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// When what may be ordered now is proposed.
    next_at: Option<Instant>,
    duties_at: Instant,
    confirmations: watch::Receiver<u64>,
    /// The question how far subscriptions have acknowledged, while it is under way.
    asking: Option<BoxFuture<'static, BTreeMap<TopicId, u64>>>,
    ask_at: Instant,
}

impl Driver {
    fn new(voter: Arc<Voter>, member: Arc<Member>) -> Self {
        Self {
            shape: member.read(State::shape),
            leadership: member.group.leadership(),
            applied: member.view.applied.clone(),
            map: voter.host.map.clone(),
            time: GroupTime::new(voter.clone(), member.id()),
            confirmations: voter.confirmations.subscribe(),
            asking: None,
            ask_at: Instant::now(),
            lacking: Share::of(&voter.figures.logs_lacking),
            voter,
            member,
            leading: None,
            in_flight: FuturesUnordered::new(),
            next_at: None,
            duties_at: Instant::now(),
        }
    }

    async fn run(mut self, mut reports: mpsc::Receiver<Relayed>) {
        self.advanced();
        self.leadership_changed();
        while let Some(event) = self.next(&mut reports).await {
            match event {
                Event::Leadership => self.leadership_changed(),
                Event::DutiesDue => self.duties(),
                Event::Ended(ended) => self.ended(ended),
                Event::Acknowledged(below) => {
                    self.asking = None;
                    if let Some((_, leader)) = &mut self.leading {
                        leader.acknowledged(below);
                    }
                }
                Event::Confirmed => {
                    self.time.confirm();
                }
                Event::Map => self.map_changed(),
                Event::Applied => self.advanced(),
                Event::Reported(first) => {
                    self.relayed(first);
                    for _ in 1..REPORTS_AT_ONCE {
                        let Ok(relayed) = reports.try_recv() else { break };
                        self.relayed(relayed);
                    }
                }
                Event::ProposalDue => {}
            }
            self.propose();
        }
    }

    /// Reports come after everything that is due only now and then, for under load there is always another. (After
    /// each event what may be proposed is.)
    async fn next(&mut self, reports: &mut mpsc::Receiver<Relayed>) -> Option<Event> {
        tokio::select! {
            biased;
            () = self.voter.shutdown.stopped() => None,
            changed = self.leadership.changed() => changed.is_ok().then_some(Event::Leadership),
            () = sleep_until(self.duties_at), if self.leading.is_some() => Some(Event::DutiesDue),
            Some(ended) = self.in_flight.next() => Some(Event::Ended(ended)),
            Some(below) = OptionFuture::from(self.asking.as_mut()) => Some(Event::Acknowledged(below)),
            Ok(()) = self.confirmations.changed() => Some(Event::Confirmed),
            Ok(()) = self.map.changed() => Some(Event::Map),
            changed = self.applied.changed() => changed.is_ok().then_some(Event::Applied),
            relayed = reports.recv() => relayed.map(Event::Reported),
            Some(()) = OptionFuture::from(self.next_at.map(sleep_until)) => Some(Event::ProposalDue),
        }
    }

    /// A new leadership begins with an empty memory, so that nothing proposed in an earlier one is taken for known.
    fn leadership_changed(&mut self) {
        let Leadership { term, leader, .. } = *self.leadership.borrow_and_update();
        let leads = leader == Some(self.voter.host.identity.node);
        if let Some((led, _)) = self.leading.as_ref().filter(|(led, _)| !leads || *led != term) {
            let in_flight = self.in_flight.len();
            tracing::debug!(group = %self.member.id(), term = led, in_flight, "leads no more");
        }
        if !leads {
            self.leading = None;
            self.time.resign();
            self.lacking.set(0);
        } else if self.leading.as_ref().is_none_or(|(led, _)| *led != term) {
            let replicas = replicas(&self.voter.host.map(), self.shape);
            let leader = Leader::new(replicas).keeping(self.voter.options.fact_runs_kept);
            self.leading = Some((term, leader));
            self.time.forget();
            self.duties_at = Instant::now() + HELD_INTERVAL;
            tracing::debug!(group = %self.member.id(), term, "leads");
        }
    }

    fn map_changed(&mut self) {
        let map = self.map.borrow_and_update().clone();
        if let Some((_, leader)) = &mut self.leading {
            leader.set_replicas(replicas(&map, self.shape));
        }
    }

    fn advanced(&mut self) {
        self.time.applied(self.member.read(State::order_time_ms));
        if let Some((_, leader)) = &mut self.leading {
            leader.advanced();
        }
    }

    fn relayed(&mut self, Relayed { path, frame }: Relayed) {
        let Some((_, leader)) = &mut self.leading else { return };
        let source =
            Source { store: NodeId(frame.store), boot: frame.boot.map(Boot::from).unwrap_or_default() };
        let Some(what) = frame.what else { return };
        match take(&self.member, leader, source, what) {
            Ok(Verdict::Restart) => path.restart(Restart { group: self.shape.group, store: source.store }),
            Ok(Verdict::Taken | Verdict::Ignored) => {}
            Err(error) => tracing::warn!(store = %source.store, %error, "a store's report is not taken"),
        }
    }

    fn ended(&mut self, (term, id, outcome): Ended) {
        if let Err(error) = &outcome {
            self.voter.figures.proposals_failed.inc();
            self.time.forget();
            tracing::debug!(group = %self.member.id(), %error, "a proposal is not known to be committed");
        }
        if let Some((led, leader)) = &mut self.leading
            && *led == term
        {
            self.member.read(|state| leader.completed(state, id, outcome.is_ok()));
        }
    }

    /// Whether proposals may be made now: a quorum confirms the leadership, and not too many are under way.
    fn may_propose(&self) -> bool {
        self.leadership.borrow().is_here && self.in_flight.len() < ASSIGNMENTS_IN_FLIGHT_MAX
    }

    fn propose(&mut self) {
        let now = Instant::now();
        while self.may_propose() && self.leading.as_ref().is_some_and(|(_, leader)| leader.is_waiting()) {
            if now < *self.next_at.get_or_insert_with(|| self.voter.ticks.after(now)) {
                return;
            }
            self.next_at = None;
            let version = self.map.borrow().version;
            let Some((_, leader)) = &mut self.leading else { return };
            let proposal = self.member.read(|state| leader.assign(state, version, || self.time.propose()));
            let Some(proposal) = proposal else { return };
            self.voter.figures.assignments.inc();
            self.submit(proposal);
        }
        self.next_at = None;
    }

    fn duties(&mut self) {
        self.duties_at = Instant::now() + HELD_INTERVAL;
        let now_ms = self.time.look();
        let may_propose = self.may_propose();
        let version = self.map.borrow().version;
        let Some((_, leader)) = &mut self.leading else { return };
        self.lacking.set(i64::try_from(leader.lacking()).unwrap_or(i64::MAX));
        if !may_propose {
            return;
        }
        let proposals = self.member.read(|state| leader.duties(state, version, || self.time.propose()));
        let trim = self.member.read(|state| leader.trims(state, now_ms));
        self.ask_positions(now_ms);
        proposals.into_iter().chain(trim).for_each(|proposal| self.submit(proposal));
    }

    /// Messages that their topic keeps until they are acknowledged: how far are they?
    fn ask_positions(&mut self, now_ms: Option<u64>) {
        let (Some((_, leader)), Some(now_ms)) = (&self.leading, now_ms) else { return };
        if self.asking.is_some() || Instant::now() < self.ask_at {
            return;
        }
        self.ask_at = Instant::now() + ASK_INTERVAL;
        let topics = self.member.read(|state| leader.waited_for(state, now_ms));
        if !topics.is_empty() {
            self.asking = Some(positions::acknowledged(self.voter.host.clone(), topics).boxed());
        }
    }

    /// Hands a proposal to consensus, at once, so that proposals are appended in the order in which they were made.
    fn submit(&mut self, Proposal { id, entry }: Proposal) {
        let Some((term, _)) = self.leading else { return };
        let entry = entry.encode();
        self.voter.figures.entry_bytes.inc_by(entry.len() as u64);
        let proposed = self.member.group.propose(entry.into(), Instant::now() + PROPOSAL_DEADLINE);
        let mut ended = proposed.map(move |outcome| (term, id, outcome)).boxed();
        match (&mut ended).now_or_never() {
            Some(ended) => self.ended(ended),
            None => self.in_flight.push(ended),
        }
    }
}

fn take(member: &Member, leader: &mut Leader, source: Source, what: What) -> Result<Verdict, Malformed> {
    Ok(match what {
        What::Report(report) => {
            let report = convert::report(report)?;
            member.read(|state| leader.report(state, source, report))
        }
        What::Held(held) => leader.held(source, convert::held(held)?),
        What::Digest(digest) => {
            member.read(|state| leader.digest(state, source, digest.session, digest.digest))
        }
        What::Gone(gone) => {
            leader.gone(source, gone.session);
            Verdict::Taken
        }
    })
}

#[cfg(test)]
mod tests;
