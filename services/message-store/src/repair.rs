//! A record that cannot be read here, or does not fit its checksum, is fetched anew from another replica and written
//! back. One at a time: a disk that loses much is not repaired by a flood of reads, and nobody else is flooded either.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use trunkline_ordering::store::LogNo;
use trunkline_ports::{CallOptions, Class, Host, Peer, ScanLimit, Storage};
use trunkline_types::limits::{REPAIRS_WAITING_MAX, SILENCE_MAX};
use trunkline_types::{LogName, TopicId, checksum};
use trunkline_wire::Status;
use trunkline_wire::convert::number;
use trunkline_wire::internal::follow_service::FETCH_RECORD;
use trunkline_wire::internal::{FetchRecordRequest, FetchRecordResponse, Record};

use crate::convert;
use crate::handle::{Handle, Input};
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

/// A log, and the replicas of its bucket elsewhere, the nearest first.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub(crate) log: LogName,
    pub(crate) addresses: Vec<Arc<str>>,
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
        let replicas = inner.handle.ask(|reply| Input::Replicas { log, seq, reply }).await;
        let replicas = replicas.ok().flatten().ok_or(RepairError::Gone)?;
        let name = replicas.log;
        match inner.fetch(&replicas, seq).await {
            Ok((record, from)) => {
                let rewritten = |reply| Input::Rewrite { log, seq, record: record.clone(), reply };
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
    /// A sound copy and where it is from.
    async fn fetch(&self, replicas: &Replicas, seq: u64) -> Result<(Record, Arc<str>), RepairError> {
        let mut unreachable = false;
        for address in &replicas.addresses {
            let (log, envelope) = (Some(replicas.log.into()), Some(self.host.envelope()));
            let request = FetchRecordRequest { envelope, log, sequence: seq };
            let peer = Peer::new(address.clone(), Class::Calls);
            let until = CallOptions::until(Instant::now() + SILENCE_MAX);
            match self.host.network.call(&peer, FETCH_RECORD, &request, until).await {
                Ok(response) => {
                    if let Some(record) = response.record.filter(|record| is_sound(record, replicas.log)) {
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

async fn on_disk(storage: &dyn Storage, log: LogNo, seq: u64) -> Option<Record> {
    let read = load::records(storage, log, seq, seq + 1, ScanLimit::rows(1)).await;
    read.ok().and_then(|(records, _)| records.into_iter().next())
}

/// Answers [`FETCH_RECORD`]: what is not sound here is not answered, and not repaired for another's sake.
pub(crate) async fn serve(
    host: Host,
    handle: Handle,
    storage: Arc<dyn Storage>,
    request: FetchRecordRequest,
) -> Result<FetchRecordResponse, Status> {
    host.check(request.envelope.as_ref())?;
    let (log, seq) = (convert::log_name(request.log)?, number(request.sequence, "sequence")?);
    let location = handle.ask(|reply| Input::Locate { log, reply }).await?;
    let record = match location.filter(|location| seq < location.durable) {
        Some(location) => on_disk(&*storage, location.log, seq).await,
        None => None,
    };
    Ok(FetchRecordResponse { record })
}
