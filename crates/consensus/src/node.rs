//! All groups of a node on one log.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_ports::{
    Batch, Consensus, ConsensusError, Group, Host, Router, StateMachine, Storage, StorageError,
};
use trunkline_types::{ClusterMap, GroupId};

use crate::figures::Figures;
use crate::keys;
use crate::member::{Balance, Handle, Member, Shared};
use crate::members::Members;
use crate::options::Options;
use crate::peers::Peers;
use crate::serve;
use crate::writer::Writer;

/// Draining waits so long for leaderships to be taken. No longer than what the balance of a new leader needs before it
/// would give one back.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);

/// How often the voters of groups are compared with the map, from the first replacement on.
const MEMBERSHIP_INTERVAL: Duration = Duration::from_millis(250);

/// A node's Raft groups. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    shared: SharedNode,
    members: Arc<Members>,
}

#[derive(Clone)]
struct SharedNode(Arc<Shared>);

impl std::fmt::Debug for SharedNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// Opens the node's Raft log on `storage`, which must have [`SPACES`](crate::SPACES), and returns what other voters call.
/// Groups are started one by one with [`Consensus::start`]. When `stopped` resolves, all of them end.
///
/// # Errors
/// [`ConsensusError::Storage`] where the log cannot be read; [`ConsensusError::Failed`] where it was written by a later
/// version, or an option makes no sense.
pub async fn open(
    host: Host,
    storage: Arc<dyn Storage>,
    options: Options,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> Result<(Arc<Node>, Router), ConsensusError> {
    options.validate().map_err(ConsensusError::Failed)?;
    check_format(storage.as_ref()).await?;
    let token = CancellationToken::new();
    let shared = Shared {
        writer: Writer::start(storage.clone(), &host.process),
        peers: Arc::new(Peers::new(host.clone())),
        options: Arc::new(options),
        stopped: token.clone(),
        storage,
        host: host.clone(),
    };
    let members = Arc::new(Members::default());
    let router = serve::router(&host, &members);
    let node = Node { shared: SharedNode(Arc::new(shared)), members };
    host.process.spawn("raft-balance", node.clone().balance());
    host.process.spawn("raft-membership", node.clone().follow_map());
    host.process.spawn("raft-stop", node.clone().stop(stopped));
    Ok((Arc::new(node), router))
}

async fn check_format(storage: &dyn Storage) -> Result<(), ConsensusError> {
    let found = storage.get(keys::STATE, keys::format()).await?;
    match found.as_deref().map(<[u8; 4]>::try_from) {
        Some(Ok(format)) if u32::from_be_bytes(format) == keys::FORMAT => Ok(()),
        Some(Ok(format)) => {
            let format = u32::from_be_bytes(format);
            Err(ConsensusError::Failed(format!(
                "the Raft log has format {format}; this version knows {}",
                keys::FORMAT
            )))
        }
        Some(Err(_)) => Err(StorageError::Corrupt("the Raft log's format".to_owned()).into()),
        None => {
            let mut batch = Batch::new();
            batch.put(keys::STATE, keys::format(), Bytes::copy_from_slice(&keys::FORMAT.to_be_bytes()));
            Ok(storage.write(batch).await?)
        }
    }
}

impl Node {
    /// What each group has done since its start here.
    pub fn figures(&self) -> BTreeMap<GroupId, Figures> {
        self.members.all().into_iter().map(|member| (member.id(), member.figures())).collect()
    }

    /// Every group that runs here.
    pub fn groups(&self) -> Vec<Arc<dyn Group>> {
        self.members.all().into_iter().map(|member| Arc::new(Handle(member)) as Arc<dyn Group>).collect()
    }

    async fn balance(self) {
        let interval = self.shared.0.options.balance_interval;
        if interval.is_zero() {
            return;
        }
        let mut balances: BTreeMap<GroupId, Balance> = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = self.shared.0.stopped.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            for member in self.members.all() {
                let balance = balances.entry(member.id()).or_default();
                if let Some(to) = balance.look(member.look(), Instant::now()) {
                    tracing::debug!(group = %member.id(), %to, "leadership goes to the first-ranked voter");
                    member.transfer(to);
                }
            }
        }
    }

    /// Sees to it that each group that is led here has the voters of the map.
    async fn follow_map(self) {
        let mut map = self.shared.0.host.map.clone();
        loop {
            let has_changed = |map: &Arc<ClusterMap>| map.replacing.is_some() || !map.replaced.is_empty();
            tokio::select! {
                biased;
                () = self.shared.0.stopped.cancelled() => return,
                changed = map.wait_for(has_changed) => if changed.is_err() { return },
            }
            join_all(self.members.all().into_iter().map(Member::follow_map)).await;
            self.shared.0.peers.forget_others(&map.borrow().clone());
            tokio::select! {
                biased;
                () = self.shared.0.stopped.cancelled() => return,
                () = tokio::time::sleep(MEMBERSHIP_INTERVAL) => {}
            }
        }
    }

    async fn stop(self, stopped: impl Future<Output = ()> + Send) {
        stopped.await;
        self.shared.0.stopped.cancel();
        for member in self.members.all() {
            let _ended = member.raft().shutdown().await;
        }
        self.members.clear();
        self.shared.0.peers.close();
    }

    async fn start_member(
        self,
        group: GroupId,
        machine: Box<dyn StateMachine>,
    ) -> Result<Arc<dyn Group>, ConsensusError> {
        if self.members.get(group).is_some() {
            return Err(ConsensusError::Failed(format!("{group} was started already")));
        }
        let member = Member::start(group, machine, self.shared.0.as_ref().clone()).await?;
        self.members.insert(member.clone());
        if !member.is_initialized() {
            self.shared.0.host.process.spawn("raft-initialize", member.clone().keep_initializing());
        }
        Ok(Arc::new(Handle(member)))
    }
}

impl Consensus for Node {
    fn start(
        &self,
        group: GroupId,
        machine: Box<dyn StateMachine>,
    ) -> BoxFuture<'static, Result<Arc<dyn Group>, ConsensusError>> {
        let node = self.clone();
        let process = self.shared.0.host.process.clone();
        Box::pin(async move {
            // In a task of the process, so that openraft's own tasks are the process's too.
            let (sender, started) = oneshot::channel();
            process.spawn(
                "raft-start",
                async move { drop(sender.send(node.start_member(group, machine).await)) },
            );
            let gone = || Err(ConsensusError::Failed("the process has ended".to_owned()));
            started.await.unwrap_or_else(|_| gone())
        })
    }

    fn hand_over(&self) -> BoxFuture<'static, ()> {
        let members = self.members.clone();
        Box::pin(async move {
            let all = join_all(members.all().into_iter().map(Member::hand_over));
            if timeout(HAND_OVER_MAX, all).await.is_err() {
                tracing::debug!("not every leadership was taken in time");
            }
        })
    }
}
