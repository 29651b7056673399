//! Who leads, as a watch that services act upon.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_ports::Leadership;
use trunkline_types::NodeId;

use crate::machine::Machine;
use crate::raft::{Raft, RaftInstant as _, ServerState, WatchReceiver as _};

/// Keeps `sender` at what openraft says. Sleeps unless something changes, or this voter leads: then it looks often
/// enough to notice within a fraction of `lease` that no quorum was heard for so long.
pub(super) async fn follow(
    raft: Raft<Machine>,
    me: NodeId,
    lease: Duration,
    sender: watch::Sender<Leadership>,
    stopped: CancellationToken,
) {
    let (mut server, mut data) = (raft.server_metrics(), raft.data_metrics());
    loop {
        let (now, leads) = {
            let server = server.borrow_and_update();
            let leads = server.state == ServerState::Leader;
            let alone = server.membership_config.voter_ids().all(|voter| voter == me);
            let heard = data.borrow_and_update().last_quorum_acked.is_some_and(|at| at.elapsed() < lease);
            let term = server.vote.leader_id.term;
            (Leadership { term, leader: server.current_leader, is_here: leads && (alone || heard) }, leads)
        };
        sender.send_if_modified(|known| std::mem::replace(known, now) != now);
        let look_again = Instant::now() + lease / 4;
        let goes_on = tokio::select! {
            biased;
            () = stopped.cancelled() => false,
            changed = server.changed() => changed.is_ok(),
            changed = data.changed(), if leads && !now.is_here => changed.is_ok(),
            () = tokio::time::sleep_until(look_again), if now.is_here => true,
        };
        if !goes_on {
            sender.send_replace(Leadership { is_here: false, ..now });
            return;
        }
    }
}
