//! This node's member of one group: what services hold.

mod balance;
mod confirm;
mod hand_over;
mod initialize;
mod leadership;
pub(crate) mod membership;
mod propose;
mod route;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_ports::{
    Committed, ConsensusError, Group, Host, Leadership, ProposeError, StateMachine, Storage,
};
use trunkline_types::limits::FRAME_BYTES_MAX;
use trunkline_types::{GroupId, NodeId};
use trunkline_wire::internal::RaftLogId;

use crate::convert;
use crate::figures::{Counters, Figures};
use crate::log::Log;
use crate::machine::{Machine, Surroundings};
use crate::network::Network;
use crate::options::Options;
use crate::peers::Peers;
use crate::raft::{Raft, WatchReceiver as _};
use crate::snapshot::Snapshots;
use crate::timing::Timing;
use crate::writer::Writer;

pub(crate) use balance::Balance;
use leadership::Follow;

/// A proposal counts for at least so much: it costs more than its bytes.
const PERMIT_BYTES: usize = 256;
/// The largest entry: with it a message of several still fits into a frame.
const ENTRY_BYTES_MAX: usize = 2 << 20;
/// Pause between two attempts that both certainly proposed nothing.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

const _: () = assert!(2 * ENTRY_BYTES_MAX < FRAME_BYTES_MAX);

/// What all members of a node share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) writer: Writer,
    pub(crate) peers: Arc<Peers>,
    pub(crate) options: Arc<Options>,
    pub(crate) stopped: CancellationToken,
}

pub(crate) struct Member {
    id: GroupId,
    me: NodeId,
    host: Host,
    raft: Raft<Machine>,
    log: Log,
    snapshots: Snapshots,
    peers: Arc<Peers>,
    timing: Timing,
    counters: Arc<Counters>,
    leadership: watch::Receiver<Leadership>,
    heard: watch::Sender<Instant>,
    applied: watch::Receiver<u64>,
    admission: Arc<Semaphore>,
    stopped: CancellationToken,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.id).finish()
    }
}

impl Member {
    /// Reads what is on disk, and goes on from there. Must run in a task of the process.
    pub(crate) async fn start(
        id: GroupId,
        machine: Box<dyn StateMachine>,
        shared: Shared,
    ) -> Result<Arc<Self>, ConsensusError> {
        let Shared { host, storage, writer, peers, options, stopped } = shared;
        let timing = Timing::of(host.map().round_trip_worst());
        let log = Log::open(id, storage.clone(), writer, options.tail_bytes).await?;
        let snapshots = Snapshots::open(id, storage).await?;
        let counters = Arc::new(Counters::default());
        let (applied_sender, applied) = watch::channel(0);
        let snapshot_due = Arc::new(Notify::new());
        let surroundings = Surroundings {
            process: host.process.clone(),
            counters: counters.clone(),
            applied: applied_sender,
            snapshot_due: snapshot_due.clone(),
            snapshot_bytes: options.snapshot_bytes,
        };
        let machine = Machine::new(machine, snapshots.clone(), surroundings);
        let network = Network {
            group: id,
            host: host.clone(),
            peers: peers.clone(),
            snapshots: snapshots.clone(),
            log: log.clone(),
            followers: Arc::default(),
            timing,
        };
        let config = timing.config(&options).validate().map_err(failed)?;
        let me = host.identity.node;
        // Connected before they are needed: an election is no time for that.
        for voter in membership::wanted(&host.map(), id).into_iter().filter(|voter| *voter != me) {
            peers.link(voter);
        }
        let raft = Raft::new(me, Arc::new(config), network, log.clone(), machine).await.map_err(failed)?;
        let (leadership_sender, leadership) = watch::channel(Leadership::default());
        let (heard, heard_receiver) = watch::channel(Instant::now());
        let follow = Follow {
            raft: raft.clone(),
            me,
            process: host.process.clone(),
            peers: peers.clone(),
            lease: timing.election_max,
            heard: heard_receiver,
            leadership: leadership_sender,
            stopped: stopped.clone(),
        };
        host.process.spawn("raft-leadership", follow.run());
        host.process.spawn("raft-snapshots", take_snapshots(raft.clone(), snapshot_due, stopped.clone()));
        let admission = Arc::new(Semaphore::new(options.proposals_bytes_max / PERMIT_BYTES));
        Ok(Arc::new(Self {
            id,
            me,
            host,
            raft,
            log,
            snapshots,
            peers,
            timing,
            counters,
            leadership,
            heard,
            applied,
            admission,
            stopped,
        }))
    }

    pub(crate) fn id(&self) -> GroupId {
        self.id
    }

    pub(crate) fn raft(&self) -> &Raft<Machine> {
        &self.raft
    }

    /// The present leader has said something.
    pub(crate) fn hears_leader(&self) {
        self.heard.send_replace(Instant::now());
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The last entry on this voter's disk.
    pub(crate) fn on_disk(&self) -> Option<RaftLogId> {
        self.log.last_on_disk().as_ref().map(convert::from_log_id)
    }

    pub(crate) fn figures(&self) -> Figures {
        self.counters.figures()
    }

    fn voters(&self) -> Vec<NodeId> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().collect()
    }

    /// The other voters, by nearness to this node.
    fn other_voters(&self) -> Vec<NodeId> {
        let map = self.host.map();
        let near = trunkline_placement::voters_by_nearness(&map, self.id, &self.host.identity.datacenter);
        let voters = self.voters();
        near.into_iter()
            .map(|node| node.id)
            .filter(|node| *node != self.me && voters.contains(node))
            .collect()
    }

    /// Waits until trying again may have another outcome. `false` when there is no time left for that.
    async fn pause(&self, leadership: &mut watch::Receiver<Leadership>, deadline: Instant) -> bool {
        let until = deadline.min(Instant::now() + RETRY_PAUSE);
        let _changed = tokio::time::timeout_at(until, leadership.changed()).await;
        Instant::now() < deadline
    }

    /// Hands leadership to another voter, if it is here.
    pub(crate) fn transfer(&self, to: NodeId) {
        if to == self.me || !self.leadership.borrow().is_here || !self.voters().contains(&to) {
            return;
        }
        let raft = self.raft.clone();
        self.host.process.spawn("raft-transfer", async move {
            let _stopped = raft.trigger().transfer_leader(to).await;
        });
    }
}

/// A group as a service holds it.
#[derive(Clone, Debug)]
pub(crate) struct Handle(pub(crate) Arc<Member>);

impl Group for Handle {
    fn id(&self) -> GroupId {
        self.0.id
    }

    fn propose(
        &self,
        entry: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Committed, ProposeError>> {
        let member = self.0.clone();
        Box::pin(async move { member.propose(entry, deadline).await })
    }

    fn confirm(&self, deadline: Instant) -> BoxFuture<'static, Result<u64, ProposeError>> {
        let member = self.0.clone();
        Box::pin(async move { member.confirm(deadline).await })
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.0.applied.clone()
    }

    fn transfer(&self, to: NodeId) {
        self.0.transfer(to);
    }

    fn voters(&self) -> Vec<NodeId> {
        self.0.voters()
    }
}

/// Takes a snapshot whenever enough bytes were applied; after enough entries openraft does it by itself.
async fn take_snapshots(raft: Raft<Machine>, due: Arc<Notify>, stopped: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            () = due.notified() => {}
        }
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

fn failed(error: impl fmt::Display) -> ConsensusError {
    ConsensusError::Failed(error.to_string())
}
