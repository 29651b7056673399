//! Leadership where it belongs: with a group's first-ranked voter while that one keeps up, elsewhere on drain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_placement::voters;
use trunkline_ports::{CallOptions, Class, Group, Host, Peer};
use trunkline_runtime::Shutdown;
use trunkline_types::{GroupId, NodeId};
use trunkline_wire::internal::GetGroupRequest;
use trunkline_wire::internal::position_service::GET_GROUP;

use crate::groups::{Groups, Member};
use crate::options::Options;

/// A voter that is at most so many entries behind keeps up.
const ENTRIES_BEHIND_MAX: u64 = 1_000;
/// A voter that did not keep the leadership gets it again only after so long.
const TRANSFER_PAUSE: Duration = Duration::from_secs(30);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Draining waits so long for leaderships to move.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);

pub(crate) fn spawn(host: &Host, groups: &Arc<Groups>, options: &Options, shutdown: &Shutdown) {
    let (host, groups, shutdown) = (host.clone(), groups.clone(), shutdown.clone());
    let interval = options.balance_interval;
    let process = host.process.clone();
    process.spawn("position-balance", async move {
        let mut transferred = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.draining() => return,
                () = tokio::time::sleep(interval) => {}
            }
            for member in groups.iter() {
                balance(&host, member, &mut transferred).await;
            }
        }
    });
}

async fn balance(host: &Host, member: &Member, transferred: &mut BTreeMap<GroupId, Instant>) {
    let group = member.group.as_ref();
    let map = host.map();
    let Some(first) = voters(&map, group.id()).first().copied() else { return };
    let rests = transferred.get(&group.id()).is_some_and(|at| at.elapsed() < TRANSFER_PAUSE);
    if !leads(group) || first.id == host.identity.node || rests {
        return;
    }
    if keeps_up(host, group, &first.address).await {
        transferred.insert(group.id(), Instant::now());
        group.transfer(first.id);
    }
}

async fn keeps_up(host: &Host, group: &dyn Group, address: &str) -> bool {
    let applied = *group.applied().borrow();
    let request = GetGroupRequest { envelope: Some(host.envelope()), group: group.id().to_u32() };
    let (to, options) = (Peer::new(address, Class::Calls), CallOptions::until(Instant::now() + ASK_TIMEOUT));
    let answer = host.network.call(&to, GET_GROUP, &request, options).await;
    answer.is_ok_and(|answer| answer.initialized && answer.applied + ENTRIES_BEHIND_MAX >= applied)
}

/// Hands every leadership to another voter that keeps up, and waits for that, for so long as is decent.
pub(crate) async fn drained(host: Host, groups: Arc<Groups>, shutdown: Shutdown) {
    shutdown.draining().await;
    let until = Instant::now() + HAND_OVER_MAX;
    let hand_over = groups.iter().map(|member| hand_over(&host, member.group.clone()));
    let _ = tokio::time::timeout_at(until, futures::future::join_all(hand_over)).await;
}

async fn hand_over(host: &Host, group: Arc<dyn Group>) {
    if !leads(group.as_ref()) {
        return;
    }
    let map = host.map();
    for voter in voters(&map, group.id()).into_iter().filter(|voter| voter.id != host.identity.node) {
        if keeps_up(host, group.as_ref(), &voter.address).await {
            move_to(group.as_ref(), voter.id).await;
            return;
        }
    }
}

async fn move_to(group: &dyn Group, voter: NodeId) {
    let mut leadership = group.leadership();
    group.transfer(voter);
    while leadership.borrow_and_update().is_here {
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

fn leads(group: &dyn Group) -> bool {
    group.leadership().borrow().is_here
}
