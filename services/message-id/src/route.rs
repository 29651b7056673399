//! Which way the reports for a group go: to the leader, if need be through another voter.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use trunkline_ports::Leadership;
use trunkline_types::NodeId;

use crate::link::LinkStates;
use crate::member::Member;
use crate::voter::{Voter, peers};

/// The next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The leader is here.
    Here,
    /// By the relay stream to this voter.
    Link(NodeId),
}

/// The way to one leadership. Whatever of it changes, reports begin anew: those under way may be lost, and a new
/// leader knows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    term: u64,
    leader: Option<NodeId>,
    pub(crate) next: Option<Next>,
    /// Which connection of that stream it is.
    epoch: u64,
}

/// By group number.
pub(crate) type Routes = BTreeMap<u16, Route>;

impl Route {
    /// Whether the leader is reached, and only through another voter.
    fn goes_around(&self) -> bool {
        matches!(self.next, Some(Next::Link(peer)) if Some(peer) != self.leader)
    }

    /// Whether other voters may send their reports through this one: it leads, or has the leader next.
    pub(crate) fn reaches(&self) -> bool {
        match self.next {
            Some(Next::Here) => true,
            Some(Next::Link(peer)) => Some(peer) == self.leader,
            None => false,
        }
    }
}

/// The packed numbers of all groups that other voters may reach through this one.
pub(crate) fn reached(voter: &Voter) -> Vec<u32> {
    let routes = voter.routes.borrow();
    let reached =
        voter.members.values().filter(|member| routes.get(&member.number).is_some_and(Route::reaches));
    reached.map(|member| member.id().to_u32()).collect()
}

/// Keeps the route of one group.
pub(crate) async fn keep(voter: Arc<Voter>, member: Arc<Member>) {
    let mut leadership = member.group.leadership();
    let mut links = voter.links.subscribe();
    loop {
        let now = *leadership.borrow_and_update();
        let nearest = peers(&voter.host, member.group.as_ref());
        let route = choose(&member, voter.host.identity.node, now, &links.borrow_and_update(), &nearest);
        voter.bypassed.send_modify(|bypassed| {
            if route.goes_around() {
                bypassed.entry(member.number).or_insert_with(Instant::now);
            } else {
                bypassed.remove(&member.number);
            }
        });
        let changed =
            voter.routes.send_if_modified(|routes| routes.insert(member.number, route) != Some(route));
        if let (true, Some(Next::Link(via))) = (changed && route.goes_around(), route.next) {
            let leader = route.leader;
            tracing::debug!(group = %member.id(), %via, ?leader, "reports go through another voter");
        }
        tokio::select! {
            biased;
            () = voter.shutdown.stopped() => return,
            changed = leadership.changed() => if changed.is_err() { return },
            changed = links.changed() => if changed.is_err() { return },
        }
    }
}

fn choose(
    member: &Member,
    here: NodeId,
    Leadership { term, leader, .. }: Leadership,
    links: &LinkStates,
    nearest: &[NodeId],
) -> Route {
    let none = Route { term, leader, next: None, epoch: 0 };
    if leader == Some(here) {
        return Route { next: Some(Next::Here), ..none };
    }
    let group = member.id().to_u32();
    let direct =
        leader.and_then(|leader| links.get(&leader).filter(|link| link.up).map(|link| (leader, link)));
    // Also where no leader is heard: another voter may hear one.
    let around = || {
        let up = nearest.iter().filter_map(|peer| links.get(peer).map(|link| (*peer, link)));
        up.into_iter().find(|(_, link)| link.up && link.reaches.contains(&group))
    };
    match direct.or_else(around) {
        Some((peer, link)) => Route { next: Some(Next::Link(peer)), epoch: link.epoch, ..none },
        None => none,
    }
}
