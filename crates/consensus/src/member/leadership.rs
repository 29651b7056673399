//! Who leads, as a watch that services act upon; and an election as soon as it is allowed where the leader is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_ports::{Leadership, Process};
use trunkline_types::NodeId;
use trunkline_types::limits::SILENCE_MAX;

use crate::machine::Machine;
use crate::peers::Peers;
use crate::raft::{Raft, RaftInstant as _, ServerState, WatchReceiver as _};

/// Two voters that lose the same leader do not stand for election in the same moment.
const STAGGER: Duration = Duration::from_millis(30);

/// Keeps the member's leadership at what openraft says.
pub(super) struct Follow {
    pub(super) raft: Raft<Machine>,
    pub(super) me: NodeId,
    pub(super) process: Process,
    pub(super) peers: Arc<Peers>,
    /// A leader without a quorum's word for so long is none; also, no voter elects another before.
    pub(super) lease: Duration,
    /// When a leader's word came last. One that is silent for too long may be none any more: none is known then.
    pub(super) heard: watch::Receiver<Instant>,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) stopped: CancellationToken,
}

impl Follow {
    /// Sleeps unless something changes, or this voter leads: then it looks often enough to notice within a fraction of
    /// the lease that it is over.
    pub(super) async fn run(self) {
        let (mut server, mut data) = (self.raft.server_metrics(), self.raft.data_metrics());
        let mut heard = self.heard.clone();
        loop {
            let silent_at = *heard.borrow_and_update() + SILENCE_MAX;
            let (now, leads) = {
                let server = server.borrow_and_update();
                let leads = server.state == ServerState::Leader;
                let alone = server.membership_config.voter_ids().all(|voter| voter == self.me);
                let is_confirmed =
                    data.borrow_and_update().last_quorum_acked.is_some_and(|at| at.elapsed() < self.lease);
                let term = server.vote.leader_id.term;
                let is_known = |leader: &NodeId| *leader == self.me || Instant::now() < silent_at;
                let leader = server.current_leader.filter(is_known);
                (Leadership { term, leader, is_here: leads && (alone || is_confirmed) }, leads)
            };
            self.leadership.send_if_modified(|known| std::mem::replace(known, now) != now);
            let look_again = Instant::now() + self.lease / 4;
            let goes_on = tokio::select! {
                biased;
                () = self.stopped.cancelled() => false,
                changed = server.changed() => changed.is_ok(),
                changed = data.changed(), if leads && !now.is_here => changed.is_ok(),
                () = tokio::time::sleep_until(look_again), if now.is_here => true,
                () = self.silent(), if !leads && now.leader.is_some() => true,
                changed = heard.changed(), if !leads && now.leader.is_none() => changed.is_ok(),
                () = self.lost(now.leader), if !leads => self.raft.trigger().elect(true).await.is_ok(),
            };
            if !goes_on {
                self.leadership.send_replace(Leadership { is_here: false, ..now });
                return;
            }
        }
    }

    /// Resolves when no leader was heard for too long.
    async fn silent(&self) {
        loop {
            let silent_at = *self.heard.borrow() + SILENCE_MAX;
            if silent_at <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(silent_at).await;
        }
    }

    /// Resolves when the connection to the leader has been lost for as long as the lease that it may have: a process
    /// that died says so by that, and nobody need wait for a timeout beyond it.
    async fn lost(&self, leader: Option<NodeId>) {
        let Some(leader) = leader.filter(|leader| *leader != self.me) else {
            return std::future::pending().await;
        };
        let mut is_up = self.peers.link(leader).watch();
        loop {
            let was_up = is_up.wait_for(|is_up| *is_up).await.is_ok();
            if !was_up || is_up.wait_for(|is_up| !is_up).await.is_err() {
                return std::future::pending().await;
            }
            let stagger = u64::try_from(STAGGER.as_millis()).unwrap_or(1);
            let wait = self.lease + Duration::from_millis(self.process.random() % stagger);
            if tokio::time::timeout(wait, is_up.wait_for(|is_up| *is_up)).await.is_err() {
                return;
            }
        }
    }
}
