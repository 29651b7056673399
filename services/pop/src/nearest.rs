//! Asks the nearest node that answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;
use trunkline_placement::{replicas, voters_by_nearness};
use trunkline_ports::{Class, Host, Peer};
use trunkline_types::limits::SILENCE_MAX;
use trunkline_types::{Bucket, ClusterMap, GroupId, Node, NodeId};
use trunkline_wire::method::Unary;
use trunkline_wire::{Message, Status, status};

use crate::error;
use crate::trace;

/// A node that did not answer is asked last for so long.
const AVOIDED_FOR: Duration = Duration::from_secs(2);
/// A store that lacks what others have is asked last for so long: one that is new may catch up for a while.
const BEHIND_FOR: Duration = Duration::from_secs(5);
/// Nodes remembered; far above what a cluster has.
const AVOIDED_MAX: usize = 4_096;

/// Remembers which nodes do not answer, or lack what they are asked for.
#[derive(Clone)]
pub(crate) struct Nearest {
    host: Host,
    ranked: Arc<Mutex<Ranked>>,
    /// And until when.
    avoided: Arc<Mutex<FxHashMap<NodeId, Instant>>>,
}

/// A node that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) peer: Peer,
    pub(crate) is_local: bool,
}

/// Who may be asked: every call asks for it, and only another map changes it.
#[derive(Default)]
struct Ranked {
    /// Of the map.
    version: u64,
    known: FxHashMap<Whom, Arc<[Candidate]>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Whom {
    Stores(Bucket),
    Voters(GroupId),
}

impl Nearest {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, ranked: Arc::default(), avoided: Arc::default() }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// The stores of a bucket: local replicas by rank, then the others by round trip.
    pub(crate) fn stores(&self, bucket: Bucket) -> Arc<[Candidate]> {
        self.ranked(Whom::Stores(bucket))
    }

    /// The voters of a group, by round trip.
    pub(crate) fn voters(&self, group: GroupId) -> Arc<[Candidate]> {
        self.ranked(Whom::Voters(group))
    }

    /// Those come last that did not answer a moment ago.
    fn ranked(&self, whom: Whom) -> Arc<[Candidate]> {
        let map = self.host.map();
        let mut ranked = self.ranked.lock().expect("nobody panics while holding it");
        if ranked.version != map.version {
            *ranked = Ranked { version: map.version, known: FxHashMap::default() };
        }
        let candidates = ranked.known.entry(whom).or_insert_with(|| self.rank(&map, whom)).clone();
        drop(ranked);
        let mut avoided = self.avoided.lock().expect("nobody panics while holding it");
        let now = Instant::now();
        avoided.retain(|_, until| now < *until);
        if avoided.is_empty() {
            return candidates;
        }
        let mut candidates = candidates.to_vec();
        candidates.sort_by_key(|candidate| avoided.contains_key(&candidate.node));
        candidates.into()
    }

    fn rank(&self, map: &ClusterMap, whom: Whom) -> Arc<[Candidate]> {
        let here = &self.host.identity.datacenter;
        let (nodes, class) = match whom {
            Whom::Stores(bucket) => {
                let mut nodes = replicas(map, bucket);
                nodes.sort_by_key(|node| (node.datacenter != *here, map.round_trip(here, &node.datacenter)));
                (nodes, Class::Records)
            }
            Whom::Voters(group) => (voters_by_nearness(map, group, here), Class::Calls),
        };
        let candidate = |node: &Node| Candidate {
            node: node.id,
            peer: Peer::new(node.address.as_str(), class),
            is_local: node.datacenter == *here,
        };
        nodes.into_iter().map(candidate).collect()
    }

    pub(crate) fn avoid(&self, node: NodeId) {
        self.last_for(node, AVOIDED_FOR);
    }

    /// It lacks what it was asked for.
    pub(crate) fn pass_over(&self, node: NodeId) {
        self.last_for(node, BEHIND_FOR);
    }

    fn last_for(&self, node: NodeId, time: Duration) {
        let mut avoided = self.avoided.lock().expect("nobody panics while holding it");
        if avoided.len() < AVOIDED_MAX {
            avoided.insert(node, Instant::now() + time);
        }
    }

    /// The first answer; an error that is of the question and not of the way is an answer too. A candidate that is
    /// silent does not use up the time of the next.
    pub(crate) async fn ask<Q: Message, A: Message + Default>(
        &self,
        candidates: &[Candidate],
        method: Unary<Q, A>,
        request: &Q,
        deadline: Instant,
    ) -> Result<A, Status> {
        let (mut said, mut is_certain) = (None, true);
        for (index, candidate) in candidates.iter().enumerate() {
            let is_last = index + 1 == candidates.len();
            let until = if is_last { deadline } else { deadline.min(Instant::now() + SILENCE_MAX) };
            match self.host.network.call(&candidate.peer, method, request, trace::until(until)).await {
                Err(error) if error::is_of_the_way(&error) => {
                    is_certain &= status::is_not_stored(&error);
                    if error::is_silence(&error) {
                        self.avoid(candidate.node);
                    } else {
                        // It says more than silence does.
                        said = Some(error);
                    }
                }
                answer => return answer,
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        let failed = said.map_or_else(error::no_answer, |said| error::without_certainty(&said));
        Err(if is_certain { status::not_stored(&failed) } else { failed })
    }
}
