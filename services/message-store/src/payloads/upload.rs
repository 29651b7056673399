//! A large payload from a push server: taken chunk by chunk, each answered once it is on disk.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use trunkline_ports::{Process, Receiver, Responder};
use trunkline_types::limits::{CONNECT_TIMEOUT, DEADLINE_MAX, PAYLOAD_IDLE_MAX, SILENCE_MAX};
use trunkline_types::{TopicId, checksum};
use trunkline_wire::Status;
use trunkline_wire::convert::chunked_payload::{check_sizes, count, length};
use trunkline_wire::internal::{UploadRequest, UploadResponse};
use trunkline_wire::status::{self, not_stored};

use super::Chunks;
use crate::follow_stream::silent;
use crate::grpc::{Doors, disk_full};
use crate::handle::{Handle, Input};
use crate::keys::PayloadNo;

/// Within which the record of a complete payload comes, or never does.
const RECORD_WITHIN: Duration = DEADLINE_MAX;

/// What a push server says of a payload before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) topic: TopicId,
    pub(crate) bytes: u64,
    pub(crate) chunk_bytes: u32,
}

/// Tells the worker when the stream is gone, however it ends: what no record has named by then goes.
struct Open {
    handle: Handle,
    process: Process,
    upload: PayloadNo,
}

impl Drop for Open {
    fn drop(&mut self) {
        let (handle, upload) = (self.handle.clone(), self.upload);
        let telling = async move {
            // Without a worker the process is ending, and the next start sees to it.
            let _ = handle.tell(Input::UploadGone { upload }).await;
        };
        self.process.spawn("store-upload-gone", telling);
    }
}

/// Until the caller ends the stream. Every error is from before there was a record.
pub(crate) async fn take(
    doors: Doors,
    mut requests: Receiver<UploadRequest>,
    responses: Responder<UploadResponse>,
) -> Result<(), Status> {
    let first = timeout(CONNECT_TIMEOUT, requests.next()).await.map_err(|_| silent())??.ok_or_else(silent)?;
    doors.host.check(first.hello.as_ref())?;
    check_sizes(first.bytes, first.chunk_bytes).map_err(|malformed| not_stored(&malformed.into()))?;
    if !doors.storage.has_room() {
        return Err(not_stored(&disk_full()));
    }
    let announced =
        Announced { topic: TopicId(first.topic_id), bytes: first.bytes, chunk_bytes: first.chunk_bytes };
    let upload = doors.handle.ask(|reply| Input::UploadBegin { announced, reply }).await?;
    let upload = upload.map_err(|refused| not_stored(&refused))?;
    let _open = Open { handle: doors.handle.clone(), process: doors.host.process.clone(), upload };
    answer(&responses, UploadResponse { upload: upload.0, written: 0 }).await?;
    let chunks = take_chunks(&doors, announced, upload, &mut requests, &responses).await?;
    let written = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    doors.handle.tell(Input::UploadDone { upload, chunks }).await?;
    answer(&responses, UploadResponse { upload: 0, written }).await?;
    // The caller lets go of it once it has heard of its record, or will not.
    let _ = timeout(RECORD_WITHIN, requests.next()).await;
    Ok(())
}

/// The checksums of all chunks, once these are on disk.
async fn take_chunks(
    doors: &Doors,
    announced: Announced,
    upload: PayloadNo,
    requests: &mut Receiver<UploadRequest>,
    responses: &Responder<UploadResponse>,
) -> Result<Vec<u64>, Status> {
    let all = count(announced.bytes, announced.chunk_bytes);
    let mut chunks = Chunks::new(doors.storage.clone(), upload, 0);
    let mut checksums = Vec::new();
    let mut idle_at = Instant::now() + PAYLOAD_IDLE_MAX;
    while chunks.written() < all {
        let ahead = chunks.next() - chunks.written();
        let wanted = chunks.next() < all && ahead < trunkline_types::limits::UPLOAD_CHUNKS_AHEAD;
        tokio::select! {
            biased;
            written = chunks.one_written() => {
                let written = written.map_err(|error| doors.failed(&error))?;
                if written < all {
                    answer(responses, UploadResponse { upload: 0, written }).await?;
                }
            }
            request = timeout_at(idle_at, requests.next()), if wanted => {
                let request = request.map_err(|_| silent())??.ok_or_else(silent)?;
                idle_at = Instant::now() + PAYLOAD_IDLE_MAX;
                let next = chunks.next();
                let expected = length(announced.bytes, announced.chunk_bytes, next);
                let sound = request.chunk.len() as u64 == expected
                    && checksum(&request.chunk) == request.checksum;
                if !sound {
                    return Err(status::invalid("chunk", format!("{next} does not fit its length or checksum")));
                }
                checksums.push(request.checksum);
                chunks.push(request.chunk);
            }
        }
    }
    Ok(checksums)
}

async fn answer(responses: &Responder<UploadResponse>, response: UploadResponse) -> Result<(), Status> {
    let sent = timeout(SILENCE_MAX, responses.send(&response)).await.map_err(|_| silent())?;
    sent.map_err(|_| Status::unavailable("the stream is closed"))
}
