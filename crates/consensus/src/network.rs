//! openraft's network on our links: one factory per group, one cheap client per purpose and peer.

mod commits;
mod followers;
mod pipeline;
mod send_snapshot;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::oneshot;
use trunkline_ports::Host;
use trunkline_types::{GroupId, NodeId};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::raft_frame::Body;

use crate::convert;
use crate::link::{Answer, Link, NoAnswer};
use crate::log::Log;
use crate::peers::Peers;
use crate::raft::{
    AppendRequest, AppendResponse, Backoff, NetworkError, OptionalSend, RPCError, RPCOption, RPCTypes,
    RaftNetworkFactory, RaftNetworkV2, ReplicationClosed, Snapshot, SnapshotResponse, StreamAppendResult,
    StreamingError, Timeout, TransferRequest, TransferResponse, Types, Unreachable, Vote, VoteRequest,
    VoteResponse,
};
use crate::snapshot::{Snapshots, StoredSnapshot};
use crate::timing::Timing;
use followers::Followers;

type Error = RPCError<Types>;

/// Makes a group's clients.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) group: GroupId,
    pub(crate) host: Host,
    pub(crate) peers: Arc<Peers>,
    pub(crate) snapshots: Snapshots,
    pub(crate) log: Log,
    pub(crate) followers: Arc<Followers>,
    pub(crate) timing: Timing,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, (): &()) -> Client {
        Client { network: self.clone(), link: self.peers.link(target) }
    }
}

/// Talks to one peer for one group.
pub(crate) struct Client {
    network: Network,
    link: Arc<Link>,
}

impl Client {
    fn submit(&self, body: Body) -> oneshot::Receiver<Answer> {
        self.link.submit(self.network.group, body)
    }

    async fn request(&self, body: Body, kind: RPCTypes, deadline: Duration) -> Result<Body, Error> {
        let answer = self.submit(body);
        self.answer(answer, kind, deadline).await
    }

    fn answer(
        &self,
        answer: oneshot::Receiver<Answer>,
        kind: RPCTypes,
        deadline: Duration,
    ) -> impl Future<Output = Result<Body, Error>> + Send + use<> {
        let (id, target) = (self.network.host.identity.node, self.link.peer());
        async move {
            match tokio::time::timeout(deadline, answer).await {
                Ok(Ok(Ok(Body::Refused(_)))) => Err(unreachable("the group is not there")),
                Ok(Ok(Ok(body))) => Ok(body),
                Ok(Ok(Err(NoAnswer::NotSent))) => Err(unreachable("the peer cannot be reached")),
                Ok(Ok(Err(NoAnswer::Lost)) | Err(_)) => Err(unreachable("the connection was lost")),
                Err(_) => Err(RPCError::Timeout(Timeout { action: kind, id, target, timeout: deadline })),
            }
        }
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = StoredSnapshot;

    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendResponse, Error> {
        let body = Body::Append(convert::from_append(&rpc));
        match self.request(body, RPCTypes::AppendEntries, option.hard_ttl()).await? {
            Body::Appended(response) => convert::to_append_response(&response).map_err(malformed),
            _ => Err(malformed(Malformed("answer"))),
        }
    }

    /// Many appends are under way at once: over the WAN, one at a time would be one per round trip.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult, Error>>, Error>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        Box::pin(std::future::ready(Ok(pipeline::stream(self, input))))
    }

    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, Error> {
        let body = Body::Vote(convert::from_vote_request(&rpc));
        let answer = self.request(body, RPCTypes::Vote, option.hard_ttl()).await?;
        if let Body::Voted(response) = &answer
            && response.granted
            && convert::to_vote(response.vote.as_ref()) == Ok(rpc.vote)
        {
            self.network.followers.said(self.link.peer(), rpc.vote.leader_id, response.on_disk.as_ref());
        }
        voted(answer)
    }

    async fn pre_vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, Error> {
        let body = Body::PreVote(convert::from_vote_request(&rpc));
        voted(self.request(body, RPCTypes::Vote, option.hard_ttl()).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<StoredSnapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError<Types>> {
        let sending = send_snapshot::send(&self.network, self.link.peer(), vote, snapshot);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = tokio::time::timeout(option.hard_ttl(), sending) => {
                sent.unwrap_or_else(|_| Err(unreachable("the snapshot took too long").into()))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferRequest,
        option: RPCOption,
    ) -> Result<TransferResponse, Error> {
        let body = Body::Transfer(convert::from_transfer(&rpc));
        match self.request(body, RPCTypes::TransferLeader, option.hard_ttl()).await? {
            Body::Transferred(answer) if answer.accepted => Ok(Ok(())),
            _ => Err(RPCError::Network(NetworkError::from_string("the peer does not take the leadership"))),
        }
    }

    /// What cannot be reached is tried again soon: the link has its own backoff.
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(self.network.timing.heartbeat)))
    }
}

fn voted(body: Body) -> Result<VoteResponse, Error> {
    match body {
        Body::Voted(response) => convert::to_vote_response(&response).map_err(malformed),
        _ => Err(malformed(Malformed("answer"))),
    }
}

fn unreachable(why: &str) -> Error {
    RPCError::Unreachable(Unreachable::from_string(why))
}

fn malformed(malformed: Malformed) -> Error {
    RPCError::Network(NetworkError::new(&malformed))
}
