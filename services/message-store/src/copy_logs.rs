//! Records of logs that are closed, copied from other stores: for one that was not there while they were open. A log that
//! is open comes by Follow; one that is closed and complete is known to its holders by its name only, and so is asked for.
//!
//! Whoever lacks some knows by the facts where each log ends, and that every replica of then has it to there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use trunkline_ordering::store::{Accepted, LogNo, Run};
use trunkline_ports::{CallOptions, Class, Host, Peer, Responder, ScanLimit};
use trunkline_runtime::Backoff;
use trunkline_types::limits::{CONNECT_TIMEOUT, LOGS_COPIED_AT_ONCE, LOGS_COPIED_LISTED, SILENCE_MAX};
use trunkline_types::{LogName, TopicId, checksum};
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal::follow_service::COPY_LOG;
use trunkline_wire::internal::{CopyLogRequest, CopyLogResponse, Record};
use trunkline_wire::{Message as _, Status};

use crate::follow_stream::silent;
use crate::grpc::Doors;
use crate::handle::{Handle, Input};
use crate::worker::{Worker, load};
use crate::{cold, convert};

/// Records of one message, in bytes; a single larger record goes alone.
const FRAME: ScanLimit = ScanLimit { rows: 512, bytes: 256 << 10 };
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A log that ends short here.
#[derive(Debug)]
pub(crate) struct Lacking {
    name: LogName,
    next: u64,
    end: u64,
    /// Who may have it, the nearest first.
    sources: Vec<Arc<str>>,
}

/// Records that have come, checked.
#[derive(Debug)]
pub(crate) struct CopiedRecords {
    log: LogName,
    from: u64,
    records: Vec<Record>,
}

impl Worker {
    /// Once a second: begins to copy what is lacking, unless that is under way.
    pub(crate) fn copy_lacking_logs(&mut self) {
        if self.dialed.log_copies.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let lacking: Vec<Lacking> =
            self.catalog.lacking().take(LOGS_COPIED_LISTED).map(|log| self.lacking(log)).collect();
        if lacking.is_empty() {
            self.dialed.log_copies = None;
            return;
        }
        tracing::debug!(logs = lacking.len(), "closed logs are copied");
        let task = fetch_all(self.host.clone(), self.handle.clone(), lacking);
        let guard = self.host.process.spawn("store-copy-logs", task).abort_on_drop();
        self.dialed.log_copies = Some(guard);
    }

    fn lacking(&self, log: LogNo) -> Lacking {
        let known = self.catalog.log(log);
        let mut peers: Vec<_> = self
            .layout
            .peers
            .iter()
            .filter(|peer| self.layout.shares(peer.node, known.name.bucket))
            .collect();
        peers.sort_by_key(|peer| (!peer.near, peer.round_trip, peer.node));
        Lacking {
            name: known.name,
            next: known.accepted(),
            end: known.closed.unwrap_or(1),
            sources: peers.into_iter().map(|peer| peer.address.clone()).collect(),
        }
    }

    /// They do not go into memory: nobody reads them soon because they have come now.
    pub(crate) fn copied_records(&mut self, copied: CopiedRecords, permit: OwnedSemaphorePermit) {
        let CopiedRecords { log, from, records } = copied;
        let Some(no) = self.catalog.find_log(&log) else { return };
        // What cannot be understood is not taken, as if it had not come.
        let Ok(kinds) = records.iter().map(convert::kind).collect::<Result<Vec<Run>, _>>() else { return };
        if let Accepted::New(new) = self.catalog.accept(no, from, &kinds) {
            let skip = usize::try_from(new.start - from).unwrap_or(usize::MAX);
            for (seq, (record, kind)) in new.zip(records.into_iter().zip(kinds).skip(skip)) {
                self.metrics.followed_in.inc();
                self.commit.record(no, seq, &record, kind, false);
            }
        }
        self.commit.hold(permit);
    }
}

/// Copies these logs, some at a time; those that nobody has now are tried again by the next task.
async fn fetch_all(host: Host, handle: Handle, lacking: Vec<Lacking>) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    let mut left: BTreeMap<LogName, Lacking> = lacking.into_iter().map(|log| (log.name, log)).collect();
    while !left.is_empty() {
        let before = left.len();
        let turn = std::mem::take(&mut left);
        let fetched = futures::stream::iter(turn.into_values().map(|log| fetch(&host, &handle, log)));
        let mut fetched = fetched.buffer_unordered(LOGS_COPIED_AT_ONCE);
        while let Some(fetched) = fetched.next().await {
            if let Err(log) = fetched {
                left.insert(log.name, log);
            }
        }
        if left.len() < before {
            backoff.reset();
        }
        if !left.is_empty() {
            backoff.wait(&host.process).await;
        }
    }
}

/// One log, from the first source that has all of it; what is lacking still is in the error.
async fn fetch(host: &Host, handle: &Handle, mut log: Lacking) -> Result<(), Lacking> {
    for source in log.sources.clone() {
        if let Err(status) = fetch_from(host, handle, &mut log, source.clone()).await {
            tracing::debug!(log = %log.name, %source, %status, "a closed log cannot be copied from here");
        }
        if log.next >= log.end {
            return Ok(());
        }
    }
    Err(log)
}

async fn fetch_from(host: &Host, handle: &Handle, log: &mut Lacking, source: Arc<str>) -> Result<(), Status> {
    let peer = Peer::new(source, Class::Follow);
    let opening = host.network.open(&peer, COPY_LOG, CallOptions::default());
    let (sender, mut receiver) = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| silent())??;
    let request =
        CopyLogRequest { envelope: Some(host.envelope()), log: Some(log.name.into()), from: log.next };
    sender.send(&request).await.map_err(|_| silent())?;
    while log.next < log.end {
        let frame = timeout(SILENCE_MAX * 2, receiver.next()).await.map_err(|_| silent())??;
        let Some(frame) = frame else { return Err(Status::unavailable("it ends short there, too")) };
        let permit = handle.follow_room(frame.encoded_len()).await?;
        let copied = check(log, frame)?;
        log.next += copied.records.len() as u64;
        handle.tell(Input::CopiedRecords { copied, permit }).await?;
    }
    Ok(())
}

/// Records that continue the log, are of its bucket, and are sound.
fn check(log: &Lacking, frame: CopyLogResponse) -> Result<CopiedRecords, Malformed> {
    let from = number(frame.from, "from")?;
    let end = from.saturating_add(frame.records.len() as u64);
    if from != log.next || end > log.end || frame.records.is_empty() {
        return Err(Malformed("from"));
    }
    let fits = |record: &Record| {
        TopicId(record.topic_id).bucket() == log.name.bucket && checksum(&record.body) == record.checksum
    };
    if !frame.records.iter().all(fits) {
        return Err(Malformed("record"));
    }
    Ok(CopiedRecords { log: log.name, from, records: frame.records })
}

/// Answers `COPY_LOG`: what is on disk here, closed or not.
pub(crate) async fn serve(
    doors: Doors,
    request: CopyLogRequest,
    responses: Responder<CopyLogResponse>,
) -> Result<(), Status> {
    doors.host.check(request.envelope.as_ref())?;
    let (log, mut from) = (convert::log_name(request.log)?, number(request.from, "from")?);
    let Some(at) = doors.locate(log).await? else { return Ok(()) };
    while from < at.durable {
        let read = load::records(&*doors.storage, at.log, from, at.durable, FRAME).await;
        let (records, damaged) = read.map_err(|error| cold::failed(&error))?;
        if damaged {
            doors.repairs.in_background(at.log, from + records.len() as u64);
        }
        if records.is_empty() {
            return Err(Status::unavailable("a record cannot be read here now"));
        }
        let count = records.len() as u64;
        let sent = timeout(SILENCE_MAX, responses.send(&CopyLogResponse { from, records })).await;
        sent.map_err(|_| silent())?.map_err(|_| Status::unavailable("the stream is closed"))?;
        from += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Boot, Bucket, Lane, NodeId, Ordinal};

    use super::*;

    #[test]
    fn only_sound_records_that_continue_the_log_are_taken() {
        let (boot, ordinal) = (Boot { counter: 1, random: 1 }, Ordinal(1));
        let name = LogName { bucket: Bucket(3), node: NodeId(1), boot, lane: Lane(0), ordinal };
        let log = Lacking { name, next: 4, end: 6, sources: Vec::new() };
        let record = |bucket| {
            let body = bytes::Bytes::from_static(b"body");
            let topic_id = TopicId::new(1, Bucket(bucket)).0;
            Record { topic_id, checksum: checksum(&body), body, ..Record::default() }
        };
        let frame = |from, records| CopyLogResponse { from, records };
        let damaged = Record { checksum: 1, ..record(3) };
        for (name, from, records, taken) in [
            ("what is next", 4, vec![record(3)], true),
            ("to its end", 4, vec![record(3), record(3)], true),
            ("known already", 3, vec![record(3)], false),
            ("a gap", 5, vec![record(3)], false),
            ("beyond its end", 4, vec![record(3); 3], false),
            ("nothing", 4, vec![], false),
            ("of another bucket", 4, vec![record(3), record(2)], false),
            ("a corrupt one", 4, vec![damaged], false),
        ] {
            assert_eq!(check(&log, frame(from, records)).is_ok(), taken, "{name}");
        }
    }
}
