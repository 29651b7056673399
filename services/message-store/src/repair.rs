//! A record that cannot be read here, or does not fit its checksum, is fetched anew from another replica and written
//! back. One at a time: a disk that loses much is not repaired by a flood of reads, and nobody else is flooded either.

mod chunk;

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use trunkline_ordering::store::LogNo;
use trunkline_ports::{CallOptions, Class, Host, Peer, ScanLimit, Storage};
use trunkline_types::limits::{REPAIRS_WAITING_MAX, SILENCE_MAX};
use trunkline_types::{LogName, TopicId, checksum};
use trunkline_wire::internal::follow_service::FETCH_RECORD;
use trunkline_wire::internal::{FetchRecordRequest, Record};

use crate::handle::{Handle, Input};
use crate::keys::{self, LogRow};
use crate::metrics::Metrics;
use crate::worker::load;

/// Records that are lost are told once; beyond so many, perhaps twice.
const LOST_MAX: usize = 1_024;

/// Why a record is not repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum RepairError {
    #[error("too many records wait to be fetched anew")]
    Busy,
    #[error("it is on disk here no more")]
    Gone,
    /// Some replicas could not be asked.
    #[error("it cannot be read here, and not all other replicas can be reached")]
    Unreachable,
    #[error("it is corrupt on every replica")]
    Lost,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Repairs(Arc<Inner>);

struct Inner {
    host: Host,
    handle: Handle,
    storage: Arc<dyn Storage>,
    metrics: Metrics,
    waiting: Semaphore,
    /// Whose turn it is, and which records are known to be lost.
    lost: Mutex<BTreeSet<(LogNo, u64)>>,
}

impl std::fmt::Debug for Repairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Repairs")
    }
}

impl Repairs {
    pub(crate) fn new(host: Host, handle: Handle, storage: Arc<dyn Storage>, metrics: Metrics) -> Self {
        let (waiting, lost) = (Semaphore::new(REPAIRS_WAITING_MAX), Mutex::default());
        Self(Arc::new(Inner { host, handle, storage, metrics, waiting, lost }))
    }

    /// The record, once it is sound on disk here again.
    pub(crate) async fn repair(&self, log: LogNo, seq: u64) -> Result<Record, RepairError> {
        let inner = &*self.0;
        let _room = inner.waiting.try_acquire().map_err(|_| RepairError::Busy)?;
        let mut lost = inner.lost.lock().await;
        // Somebody may have repaired it meanwhile.
        if let Some(record) = on_disk(&*inner.storage, log, seq).await {
            return Ok(record);
        }
        let name = inner.name(log).await.ok_or(RepairError::Gone)?;
        let replicas = inner.handle.ask(|reply| Input::Replicas { log: name, seq, reply }).await;
        let replicas = replicas.ok().flatten().ok_or(RepairError::Gone)?;
        match inner.fetch(name, seq, &replicas).await {
            Ok((record, from)) => {
                let at = (log, seq);
                let rewritten = |reply| Input::Rewrite { log: name, at, record: record.clone(), reply };
                inner.handle.ask(rewritten).await.map_err(|_| RepairError::Gone)?;
                tracing::warn!(log = %name, seq, %from, "a record that could not be read was fetched anew");
                inner.metrics.repaired.inc();
                lost.remove(&(log, seq));
                Ok(record)
            }
            Err(RepairError::Lost) => {
                if !lost.contains(&(log, seq)) {
                    tracing::error!(log = %name, seq, "a record is corrupt on every replica");
                    inner.metrics.lost.inc();
                }
                if lost.len() >= LOST_MAX {
                    lost.clear();
                }
                lost.insert((log, seq));
                Err(RepairError::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Repairs a record that nobody waits for.
    pub(crate) fn in_background(&self, log: LogNo, seq: u64) {
        let repairs = self.clone();
        let repair = async move {
            if let Err(error) = repairs.repair(log, seq).await {
                tracing::debug!(log = log.0, seq, %error, "a record is not repaired");
            }
        };
        self.0.host.process.spawn("store-repair", repair);
    }
}

impl Inner {
    async fn name(&self, log: LogNo) -> Option<LogName> {
        let row = self.storage.get(keys::LOGS, keys::log_key(log)).await.ok().flatten()?;
        keys::decode(&row).map(|row: LogRow| row.name())
    }

    /// A sound copy and where it is from.
    async fn fetch(
        &self,
        log: LogName,
        sequence: u64,
        replicas: &[Arc<str>],
    ) -> Result<(Record, Arc<str>), RepairError> {
        let mut unreachable = false;
        for address in replicas {
            let envelope = Some(self.host.envelope());
            let request = FetchRecordRequest { envelope, log: Some(log.into()), sequence };
            let peer = Peer::new(address.clone(), Class::Calls);
            let until = CallOptions::until(Instant::now() + SILENCE_MAX);
            match self.host.network.call(&peer, FETCH_RECORD, &request, until).await {
                Ok(response) => {
                    if let Some(record) = response.record.filter(|record| is_sound(record, log)) {
                        return Ok((record, address.clone()));
                    }
                }
                Err(status) => {
                    tracing::debug!(%address, %status, "a replica cannot be asked for a record");
                    unreachable = true;
                }
            }
        }
        Err(if unreachable { RepairError::Unreachable } else { RepairError::Lost })
    }
}

fn is_sound(record: &Record, log: LogName) -> bool {
    checksum(&record.body) == record.checksum && TopicId(record.topic_id).bucket() == log.bucket
}

/// A record, if it is sound on disk here.
pub(crate) async fn on_disk(storage: &dyn Storage, log: LogNo, seq: u64) -> Option<Record> {
    let read = load::records(storage, log, seq, seq + 1, ScanLimit::rows(1)).await;
    read.ok().and_then(|(records, _)| records.into_iter().next())
}
