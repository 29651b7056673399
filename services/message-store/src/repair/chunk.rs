//! A chunk of a large payload that cannot be read here, mended as records are.

use std::sync::Arc;

use bytes::Bytes;
use trunkline_ordering::store::LogNo;
use trunkline_types::LogName;
use trunkline_wire::Code;
use trunkline_wire::internal::RecordPlace;

use super::{Inner, RepairError, Repairs};
use crate::handle::Input;
use crate::payloads::{self, Kept, fetch};

impl Repairs {
    /// The chunk, once it is sound on disk here again.
    pub(crate) async fn chunk(
        &self,
        at: (LogNo, u64),
        kept: &Kept,
        chunk: u32,
    ) -> Result<Bytes, RepairError> {
        let inner = &*self.0;
        let _room = inner.waiting.try_acquire().map_err(|_| RepairError::Busy)?;
        let _turn = inner.lost.lock().await;
        // Somebody may have repaired it meanwhile.
        if let Some(bytes) = payloads::chunk(&*inner.storage, kept, chunk).await {
            return Ok(bytes);
        }
        let log = inner.name(at.0).await.ok_or(RepairError::Gone)?;
        let replicas = inner.handle.ask(|reply| Input::Replicas { log, seq: at.1, reply }).await;
        let replicas = replicas.ok().flatten().ok_or(RepairError::Gone)?;
        let (bytes, from) =
            inner.fetch_chunk(log, at.1, kept, chunk, &replicas).await.inspect_err(|error| {
                if *error == RepairError::Lost {
                    tracing::error!(%log, seq = at.1, chunk, "a chunk is corrupt on every replica");
                    inner.metrics.lost.inc();
                }
            })?;
        let (at, rewritten) = ((log, at.1), (kept.number, chunk));
        let rewritten = |reply| Input::RewriteChunk { at, chunk: rewritten, bytes: bytes.clone(), reply };
        inner.handle.ask(rewritten).await.map_err(|_| RepairError::Gone)?;
        tracing::warn!(%log, seq = at.1, chunk, %from, "a chunk that could not be read was fetched anew");
        inner.metrics.repaired.inc();
        Ok(bytes)
    }

    /// Repairs a chunk that nobody waits for.
    pub(crate) fn chunk_in_background(&self, at: (LogNo, u64), kept: Kept, chunk: u32) {
        let repairs = self.clone();
        let repair = async move {
            if let Err(error) = repairs.chunk(at, &kept, chunk).await {
                tracing::debug!(log = at.0.0, seq = at.1, chunk, %error, "a chunk is not repaired");
            }
        };
        self.0.host.process.spawn("store-repair", repair);
    }
}

impl Inner {
    /// A sound copy and where it is from. A replica that has not got the payload, or not soundly, says so.
    async fn fetch_chunk(
        &self,
        log: LogName,
        sequence: u64,
        kept: &Kept,
        chunk: u32,
        replicas: &[Arc<str>],
    ) -> Result<(Bytes, Arc<str>), RepairError> {
        let mut unreachable = false;
        for address in replicas {
            let place = RecordPlace { log: Some(log.into()), sequence };
            match fetch::one_chunk(&self.host, address, place, kept, chunk).await {
                Ok(Some(bytes)) => return Ok((bytes, address.clone())),
                Ok(None) => {}
                Err(status) => {
                    tracing::debug!(%address, %status, "a replica does not give a chunk");
                    unreachable |= !matches!(status.code(), Code::NotFound | Code::DataLoss);
                }
            }
        }
        Err(if unreachable { RepairError::Unreachable } else { RepairError::Lost })
    }
}
