//! What every task of this node shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use trunkline_ordering::group::{Replica, Replicas, Shape};
use trunkline_ports::{Group, Host};
use trunkline_runtime::{Shutdown, Ticks};
use trunkline_types::limits::SILENCE_MAX;
use trunkline_types::{Bucket, ClusterMap, DatacenterName, GroupId, NodeId};
use trunkline_wire::Status;
use trunkline_wire::status::{self, reason};

use crate::clocks::Clocks;
use crate::link::{LinkStates, Outgoing};
use crate::member::Member;
use crate::metrics::Figures;
use crate::options::Options;
use crate::relay::{Path, Relayed};
use crate::route::{Next, Routes};

#[derive(Debug)]
pub(crate) struct Voter {
    pub(crate) host: Host,
    pub(crate) options: Options,
    pub(crate) shutdown: Shutdown,
    pub(crate) figures: Figures,
    /// What the other voters' clocks show.
    pub(crate) clocks: Clocks,
    /// This node's members of ordering groups, by group number.
    pub(crate) members: BTreeMap<u16, Arc<Member>>,
    /// Which way reports go, by group number.
    pub(crate) routes: watch::Sender<Routes>,
    /// Groups whose leader this voter reaches only through another one, and since when.
    pub(crate) bypassed: watch::Sender<BTreeMap<u16, Instant>>,
    /// What is known of the relay streams to other voters.
    pub(crate) links: watch::Sender<LinkStates>,
    /// Into those streams.
    pub(crate) outgoing: BTreeMap<NodeId, mpsc::Sender<Outgoing>>,
    pub(crate) last_path: AtomicU64,
    /// Counts how often an operator has confirmed the clocks.
    pub(crate) confirmations: watch::Sender<u64>,
    /// When its groups propose: together, so that what they append travels and is synced together.
    pub(crate) ticks: Ticks,
}

impl Voter {
    /// # Errors
    /// `FAILED_PRECONDITION`, reason `STALE`: this node is no voter of the group.
    pub(crate) fn member(&self, group: GroupId) -> Result<&Arc<Member>, Status> {
        let member = self.members.get(&group.number).filter(|member| member.id() == group);
        member.ok_or_else(|| {
            let message = format!("{} is no voter of {group}", self.host.identity.name);
            status::not_stored(&status::failed_precondition(reason::STALE, message))
        })
    }

    /// The same by the packed number of the wire.
    ///
    /// # Errors
    /// As for [`Voter::member`].
    pub(crate) fn member_packed(&self, group: u32) -> Result<&Arc<Member>, Status> {
        let group =
            GroupId::from_u32(group).ok_or_else(|| status::invalid("group", "is of an unknown kind"))?;
        self.member(group)
    }

    /// Whether this voter has for too long reached a group's leader through another voter only: what that one commits
    /// does not come here either.
    pub(crate) fn is_bypassed(&self, group: u16) -> bool {
        self.bypassed.borrow().get(&group).is_some_and(|since| since.elapsed() >= SILENCE_MAX)
    }

    /// A way back to whoever sends reports through this voter.
    pub(crate) fn new_path(&self) -> (Path, mpsc::Receiver<crate::relay::Restart>) {
        Path::new(self.last_path.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Passes a store's word on towards the leader of its group; drops it where there is no way, which the store
    /// learns as soon as there is one, or from the leader at its next digest.
    pub(crate) fn forward(&self, member: &Member, mut relayed: Relayed) {
        let next = self.routes.borrow().get(&member.number).and_then(|route| route.next);
        let passed = match next {
            Some(Next::Here) => member.reports.try_send(relayed).is_ok(),
            Some(Next::Link(peer)) if relayed.frame.hops < trunkline_types::limits::RELAY_HOPS_MAX => {
                relayed.frame.hops += 1;
                let outgoing = Outgoing { group: member.number, relayed };
                self.outgoing.get(&peer).is_some_and(|link| link.try_send(outgoing).is_ok())
            }
            Some(Next::Link(_)) | None => false,
        };
        if !passed {
            self.figures.reports_dropped.inc();
        }
    }
}

/// The group as the map lays it out.
pub(crate) fn shape(map: &ClusterMap, group: u16) -> Shape {
    Shape { group, groups: map.ordering_groups, buckets: map.buckets }
}

/// Where the buckets of a group live.
pub(crate) fn replicas(map: &ClusterMap, shape: Shape) -> Replicas {
    let datacenter = |name: &DatacenterName| {
        map.datacenters.iter().position(|datacenter| datacenter.name == *name).unwrap_or(0)
    };
    let of = |bucket: Bucket| -> Vec<Replica> {
        let nodes = trunkline_placement::replicas(map, bucket).into_iter();
        nodes.map(|node| Replica { store: node.id, datacenter: datacenter(&node.datacenter) }).collect()
    };
    let buckets = shape.own_buckets().map(|bucket| (bucket, of(bucket))).collect();
    let lost = map.datacenters.iter().enumerate().filter(|(_, datacenter)| datacenter.lost).map(|(at, _)| at);
    Replicas::new(map.datacenters.len(), buckets).without_datacenters(lost.collect())
}

/// The other voters of a group, nearest first.
pub(crate) fn peers(host: &Host, group: &dyn Group) -> Vec<NodeId> {
    let map = host.map();
    let voters = trunkline_placement::voters_by_nearness(&map, group.id(), &host.identity.datacenter);
    voters.into_iter().map(|node| node.id).filter(|id| *id != host.identity.node).collect()
}
