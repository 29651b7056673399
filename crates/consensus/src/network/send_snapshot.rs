//! Sends a snapshot to a peer, one chunk in memory at a time.

use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_types::NodeId;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::{self as wire, raft_service};
use trunkline_wire::{Code, Status};

use super::{Network, unreachable};
use crate::convert;
use crate::raft::{NetworkError, RPCError, Snapshot, SnapshotResponse, StreamingError, Types, Vote};
use crate::snapshot::StoredSnapshot;

type Error = StreamingError<Types>;

/// Resolves when the peer has installed it, or said why not.
pub(super) async fn send(
    network: &Network,
    peer: NodeId,
    vote: Vote,
    snapshot: Snapshot<StoredSnapshot>,
) -> Result<SnapshotResponse, Error> {
    let map = network.host.map();
    let node = map.member(peer).ok_or_else(|| unreachable("the map does not know the peer"))?;
    let to = Peer::new(node.address.as_str(), Class::Calls);
    let opened = network.host.network.open(&to, raft_service::INSTALL_SNAPSHOT, CallOptions::default());
    let (sender, mut receiver) = opened.await.map_err(failed)?;
    let stored = &snapshot.snapshot;
    let closed = || Error::from(unreachable("the connection was lost"));
    sender.send(&head(network, vote, &snapshot)).await.map_err(|_| closed())?;
    for number in 0..stored.chunks {
        let chunk = network.snapshots.chunk(stored, number).await;
        let data = chunk.ok().flatten().ok_or_else(|| unreachable("a chunk cannot be read"))?;
        let chunk = wire::SnapshotChunk { data, ..wire::SnapshotChunk::default() };
        if sender.send(&chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    let answer = receiver.next().await.map_err(failed)?.ok_or_else(closed)?;
    let vote = convert::to_vote(answer.vote.as_ref()).map_err(malformed)?;
    Ok(SnapshotResponse::new(vote))
}

fn head(network: &Network, vote: Vote, snapshot: &Snapshot<StoredSnapshot>) -> wire::SnapshotChunk {
    let described = wire::RaftSnapshot {
        size: snapshot.snapshot.size,
        checksum: snapshot.snapshot.checksum,
        chunks: snapshot.snapshot.chunks,
        ..convert::from_snapshot_meta(&snapshot.meta)
    };
    let head = wire::SnapshotHead {
        group: network.group.to_u32(),
        vote: Some(convert::from_vote(&vote)),
        snapshot: Some(described),
    };
    wire::SnapshotChunk {
        hello: Some(network.host.envelope()),
        head: Some(head),
        ..wire::SnapshotChunk::default()
    }
}

fn failed(status: Status) -> Error {
    match status.code() {
        Code::Unavailable => unreachable(status.message()).into(),
        _ => RPCError::Network(NetworkError::from_string(status.message())).into(),
    }
}

fn malformed(malformed: Malformed) -> Error {
    super::malformed(malformed).into()
}
