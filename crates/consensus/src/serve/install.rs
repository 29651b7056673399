//! Takes a snapshot from a leader, a chunk at a time to disk, then installs it.

use std::sync::Arc;

use trunkline_ports::{Host, Receiver, Responder, StorageError};
use trunkline_types::GroupId;
use trunkline_types::limits::SILENCE_MAX;
use trunkline_wire::Status;
use trunkline_wire::internal::{SnapshotChunk, SnapshotHead, SnapshotInstalled};

use super::check;
use crate::convert;
use crate::member::Member;
use crate::members::Members;
use crate::raft::Snapshot;
use crate::snapshot::{SNAPSHOT_BYTES_MAX, StoredSnapshot};

pub(super) async fn serve(
    host: Host,
    members: Arc<Members>,
    mut chunks: Receiver<SnapshotChunk>,
    responses: Responder<SnapshotInstalled>,
) -> Result<(), Status> {
    let first =
        next(&mut chunks).await?.ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
    check(&host, first.hello.as_ref())?;
    let head = first.head.ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
    let member = GroupId::from_u32(head.group).and_then(|group| members.get(group));
    let member = member.ok_or_else(|| Status::unavailable("the group is not there"))?;
    let stored = receive(&member, &head, &mut chunks).await?;
    let described =
        head.snapshot.as_ref().ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
    let meta = convert::to_snapshot_meta(described)?;
    let vote = convert::to_vote(head.vote.as_ref())?;
    let installed = member.raft().install_full_snapshot(vote, Snapshot { meta, snapshot: stored }).await;
    let installed = installed.map_err(|_| Status::unavailable("the group has stopped"))?;
    tracing::debug!(group = %member.id(), "a snapshot was installed");
    let answer = SnapshotInstalled { vote: Some(convert::from_vote(&installed.vote)) };
    let _gone = responses.send(&answer).await;
    Ok(())
}

async fn next(chunks: &mut Receiver<SnapshotChunk>) -> Result<Option<SnapshotChunk>, Status> {
    let next = tokio::time::timeout(SILENCE_MAX, chunks.next()).await;
    next.unwrap_or_else(|_| Err(Status::unavailable("the sender is silent")))
}

/// The whole on disk, and as the leader has described it.
async fn receive(
    member: &Member,
    head: &SnapshotHead,
    chunks: &mut Receiver<SnapshotChunk>,
) -> Result<StoredSnapshot, Status> {
    let described =
        head.snapshot.as_ref().ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
    if described.size > SNAPSHOT_BYTES_MAX {
        return Err(Status::invalid_argument("a snapshot beyond the limit"));
    }
    let mut writer = member.snapshots().begin();
    let mut size = 0;
    while let Some(chunk) = next(chunks).await? {
        size += chunk.data.len() as u64;
        if size > described.size {
            return Err(Status::invalid_argument("a snapshot beyond its own size"));
        }
        writer.push(&chunk.data).await.map_err(|error| failed(&error))?;
    }
    let stored = writer.finish().await.map_err(|error| failed(&error))?;
    if stored.size != described.size || stored.checksum != described.checksum {
        return Err(Status::unavailable("a snapshot that is not what was described"));
    }
    Ok(stored)
}

fn failed(error: &StorageError) -> Status {
    Status::unavailable(error.to_string())
}
