//! A node takes another's place: the map says so first, then comes what the map wants, then the map names the new node.
//!
//! Each ordering group's leader fences off a store by itself, each group's leader lets a new voter join by itself. Here
//! the leader of group 0 only looks whether all have, and commits the next map. It remembers nothing: whoever leads goes
//! on from the map in force.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use trunkline_placement::voters_by_nearness;
use trunkline_ports::{CallOptions, Class, Group, Peer};
use trunkline_types::{ClusterMap, GroupId, Node, NodeId, Replacement, Role, Standing};
use trunkline_wire::Status;
use trunkline_wire::internal::map_service::GET_FENCES;
use trunkline_wire::internal::raft_service::KNOWS;
use trunkline_wire::internal::{GetFencesRequest, RaftKnowsRequest, ReplaceNodeRequest, ReplaceNodeResponse};
use trunkline_wire::status::{self, reason};

use crate::map_group::Known;
use crate::member::refused;
use crate::voter::Voter;

const LOOK: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(1);
const PROPOSAL_DEADLINE: Duration = Duration::from_secs(5);
/// Another change of the map may come first; so often it is tried on top of that.
const ATTEMPTS: usize = 4;

/// Group 0, where this node votes in it.
#[derive(Clone)]
pub(crate) struct MapGroup {
    pub(crate) group: Arc<dyn Group>,
    pub(crate) known: watch::Receiver<Known>,
}

impl MapGroup {
    fn map(&self) -> Option<Arc<ClusterMap>> {
        self.known.borrow().clone()
    }

    /// Commits a map, unless another has come first: false.
    async fn commit(&self, next: &ClusterMap, deadline: Instant) -> Result<bool, Status> {
        let entry = serde_json::to_vec(next).expect("a map is plain data");
        let committed = self.group.propose(entry.into(), deadline).await.map_err(|error| refused(&error))?;
        Ok(committed.answer.as_ref() == [1])
    }
}

/// Answers `ReplaceNode`.
pub(crate) async fn replace(
    group: &MapGroup,
    request: &ReplaceNodeRequest,
    deadline: Instant,
) -> Result<ReplaceNodeResponse, Status> {
    let new = new_node(request)?;
    for _ in 0..ATTEMPTS {
        group.group.confirm(deadline).await.map_err(|error| refused(&error))?;
        let map = group.map().ok_or_else(|| no_map("group 0 has no map yet"))?;
        if map.cluster.0 != request.cluster {
            return Err(no_map(&format!("this node belongs to cluster {}", map.cluster)));
        }
        let next = map.replace(NodeId(request.old), new.clone());
        match next.map_err(|why| status::failed_precondition("REFUSED", why.to_string()))? {
            None => {
                let done = map.standing(new.id) == Standing::Member;
                return Ok(ReplaceNodeResponse { map_version: map.version, done });
            }
            Some(next) if group.commit(&next, deadline).await? => {
                tracing::info!(old = %NodeId(request.old), new = %new.id, "a node is to be replaced");
                return Ok(ReplaceNodeResponse { map_version: next.version, done: false });
            }
            Some(_) => {}
        }
    }
    Err(no_map("the map has changed too often meanwhile: try again"))
}

fn no_map(why: &str) -> Status {
    status::not_stored(&status::failed_precondition(reason::STALE, why))
}

fn new_node(request: &ReplaceNodeRequest) -> Result<Node, Status> {
    let role: Role = request.role.parse().map_err(|why: String| status::invalid("role", why))?;
    for (field, text) in [("name", &request.name), ("address", &request.address)] {
        if text.is_empty() {
            return Err(status::invalid(field, "must not be empty"));
        }
    }
    if request.new == 0 {
        return Err(status::invalid("new", "must not be 0"));
    }
    Ok(Node {
        id: NodeId(request.new),
        role,
        datacenter: request.datacenter.as_str().into(),
        address: request.address.clone(),
        name: request.name.clone(),
        place: None,
    })
}

/// Goes on with replacements for as long as this node leads group 0.
pub(crate) async fn drive(voter: Arc<Voter>, group: MapGroup) {
    let shutdown = voter.shutdown.clone();
    let driving = async {
        let (mut known, mut leadership) = (group.known.clone(), group.group.leadership());
        loop {
            let begun = |map: &Known| map.as_ref().is_some_and(|map| map.replacing.is_some());
            if known.wait_for(begun).await.is_err() {
                return;
            }
            if leadership.wait_for(|leadership| leadership.is_here).await.is_err() {
                return;
            }
            step(&voter, &group).await;
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        () = shutdown.stopped() => {}
        () = driving => {}
    }
}

async fn step(voter: &Voter, group: &MapGroup) {
    let Some(map) = group.map() else { return };
    let Some((replacement, next)) = map.replacing.as_ref().zip(map.replacement_done()) else { return };
    if !is_prepared(voter, &map, replacement).await {
        return;
    }
    match group.commit(&next, Instant::now() + PROPOSAL_DEADLINE).await {
        Ok(true) => {
            let (old, new) = (replacement.old, replacement.new.id);
            tracing::info!(%old, %new, version = next.version, "a node was replaced");
        }
        Ok(false) => {}
        Err(status) => tracing::debug!(%status, "the map is not known to be committed"),
    }
}

/// Whether all groups have done what comes before the new node has its place.
async fn is_prepared(voter: &Voter, map: &ClusterMap, replacement: &Replacement) -> bool {
    let target = map.target();
    let ordering = (0..map.ordering_groups).map(GroupId::ordering);
    let groups: Vec<GroupId> = match replacement.new.role {
        Role::MessageStore => {
            let fenced = ordering.map(|group| is_fenced(voter, map, group, replacement));
            return join_all(fenced).await.into_iter().all(|fenced| fenced);
        }
        Role::MessageId => ordering.chain([GroupId::MAP]).collect(),
        Role::SubscriptionPosition => (0..map.position_groups).map(GroupId::position).collect(),
        Role::Push | Role::Pop => return false, // They have no place in the map.
    };
    let joined = groups.into_iter().map(|group| has_joined(voter, &target, group, replacement.new.id));
    join_all(joined).await.into_iter().all(|joined| joined)
}

/// Whether some voter has applied the fence.
async fn is_fenced(voter: &Voter, map: &ClusterMap, group: GroupId, replacement: &Replacement) -> bool {
    let request = GetFencesRequest { envelope: Some(voter.host.envelope()), group: group.to_u32() };
    for node in voters_by_nearness(map, group, &voter.host.identity.datacenter) {
        let peer = Peer::new(node.address.as_str(), Class::Calls);
        let options = CallOptions::until(Instant::now() + ANSWER_MAX);
        let Ok(answer) = voter.host.network.call(&peer, GET_FENCES, &request, options).await else {
            continue;
        };
        let stands = |store: u64, version| store == replacement.old.0 && version >= replacement.since;
        if answer.fences.iter().any(|fence| stands(fence.store, fence.map_version)) {
            return true;
        }
    }
    false
}

/// Whether a quorum has agreed on the voters that the map wants, if the new node is one of them.
async fn has_joined(voter: &Voter, target: &ClusterMap, group: GroupId, new: NodeId) -> bool {
    let voters = voters_by_nearness(target, group, &voter.host.identity.datacenter);
    let mut wanted: Vec<u64> = voters.iter().map(|node| node.id.0).collect();
    wanted.sort_unstable();
    if !wanted.contains(&new.0) {
        return true;
    }
    let request = RaftKnowsRequest { envelope: Some(voter.host.envelope()), group: group.to_u32() };
    for node in voters {
        let peer = Peer::new(node.address.as_str(), Class::Consensus);
        let options = CallOptions::until(Instant::now() + ANSWER_MAX);
        let Ok(answer) = voter.host.network.call(&peer, KNOWS, &request, options).await else { continue };
        let mut agreed = answer.voters;
        agreed.sort_unstable();
        if agreed == wanted {
            return true;
        }
    }
    false
}
