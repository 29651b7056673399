//! Large payloads: those that push servers bring before their record, those that records of others name and that are
//! still to come, and what goes with a record that is dropped.
//!
//! **Invariant** (I1, I2): a record is written, and so acknowledged and reported, only with all chunks of its payload on
//! disk. **Invariant** (I10): chunks go with their record, or where no record of them was ever told to be here.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use trunkline_ordering::store::{Awaiting, IndexRun, Level, LogNo};
use trunkline_ports::Batch;
use trunkline_ports::process::Task;
use trunkline_types::limits::{PAYLOADS_FOLLOWED_MAX, RECORDS_AWAITING_MAX, UPLOADS_MAX};
use trunkline_types::{Bucket, Lane, LogName, NodeId, Ordinal, TopicId};
use trunkline_wire::Status;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::{Barrier, ChunkedPayload, Ordered, Record, Want, appended};
use trunkline_wire::status::{self, reason};

use super::Worker;
use super::append::{Push, RETRY_AFTER};
use crate::keys::PayloadNo;
use crate::payloads::fetch::{Fetches, Wanted};
use crate::payloads::serve::PayloadAt;
use crate::payloads::upload::Announced;
use crate::payloads::{self, Kept};
use crate::recover::Undecided;

/// A record that waits for its payload, and who has sent it.
#[derive(Debug)]
struct Taken {
    record: Record,
    source: NodeId,
}

/// A payload whose record is not on disk here yet.
#[derive(Debug)]
struct UnderWay {
    kept: Kept,
    /// So many chunks are on disk.
    have: Arc<watch::Sender<u32>>,
    fetch: Option<Task>,
    /// All of it is here, and its record is on its way to disk.
    stored: bool,
}

/// What push servers bring; all chunks once they are on disk, by their checksums.
#[derive(Debug)]
struct Upload {
    announced: Announced,
    chunks: Option<Vec<u64>>,
}

#[derive(Debug)]
pub(crate) struct Large {
    fetches: Fetches,
    /// This boot's log of large payloads of each bucket.
    current: BTreeMap<Bucket, LogNo>,
    uploads: BTreeMap<PayloadNo, Upload>,
    /// Numbers of payloads that were given in this boot.
    numbers: u32,
    awaiting: Awaiting<Taken>,
    under_way: BTreeMap<(LogNo, u64), UnderWay>,
    /// Of records that are on disk here and may yet lie beyond their log's end.
    undecided: Undecided,
    /// Logs of which there was more than there is room for, and who has it.
    passed_over: BTreeMap<LogNo, NodeId>,
}

impl Large {
    pub(super) fn new(fetches: Fetches, undecided: Undecided) -> Self {
        Self {
            fetches,
            current: BTreeMap::new(),
            uploads: BTreeMap::new(),
            numbers: 0,
            awaiting: Awaiting::new(PAYLOADS_FOLLOWED_MAX, RECORDS_AWAITING_MAX),
            under_way: BTreeMap::new(),
            undecided,
            passed_over: BTreeMap::new(),
        }
    }

    pub(super) fn is_current(&self, log: LogNo, bucket: Bucket) -> bool {
        self.current.get(&bucket) == Some(&log)
    }

    /// A record that waits here for its payload may be followed all the same: whoever does waits likewise.
    pub(super) fn record(&self, log: LogNo, seq: u64) -> Option<&Record> {
        self.awaiting.get(log, seq).map(|taken| &taken.record)
    }
}

/// As coordinator.
impl Worker {
    pub(super) fn upload_begin(&mut self, announced: Announced) -> Result<PayloadNo, Status> {
        self.admit(announced.topic)?;
        if self.large.uploads.len() >= UPLOADS_MAX {
            return Err(status::overloaded("too many large payloads are under way", RETRY_AFTER));
        }
        let number = self.payload_number();
        self.large.uploads.insert(number, Upload { announced, chunks: None });
        Ok(number)
    }

    pub(super) fn upload_done(&mut self, upload: PayloadNo, chunks: Vec<u64>) {
        if let Some(upload) = self.large.uploads.get_mut(&upload) {
            upload.chunks = Some(chunks);
        }
    }

    /// The push server is gone, or needs it no more: what no record has named goes.
    pub(super) fn upload_gone(&mut self, upload: PayloadNo) {
        if self.large.uploads.remove(&upload).is_some() {
            self.drop_payload(upload, None);
        }
    }

    fn payload_number(&mut self) -> PayloadNo {
        self.large.numbers += 1;
        PayloadNo::new(self.host.identity.boot, self.large.numbers)
    }

    /// The payload that a record was sent for, where all of it is here.
    pub(super) fn uploaded(&mut self, upload: u64, record: &Record) -> Result<Kept, Status> {
        let what = ChunkedPayload::of_body(record.body.clone())?;
        let number = PayloadNo(upload);
        let Some(Upload { announced, chunks: Some(chunks) }) = self.large.uploads.get(&number) else {
            return Err(status::failed_precondition(reason::STALE, "the payload is not here"));
        };
        let is_it = announced.topic == TopicId(record.topic_id)
            && (announced.bytes, announced.chunk_bytes) == (what.bytes, what.chunk_bytes)
            && *chunks == what.chunks;
        if !is_it {
            return Err(status::invalid("record.large", "is not what was uploaded"));
        }
        self.large.uploads.remove(&number);
        Ok(Kept { number, what: Arc::new(what) })
    }

    /// This boot's one log of large payloads of a bucket: outages let nothing overtake in it.
    pub(super) fn current_large_log(&mut self, bucket: Bucket) -> LogNo {
        if let Some(&log) = self.large.current.get(&bucket) {
            return log;
        }
        let (node, boot) = (self.me(), self.host.identity.boot);
        let name = LogName { bucket, node, boot, lane: Lane::LARGE, ordinal: Ordinal(1) };
        let mut rows = Vec::new();
        let log = self.catalog.open_log(name, None, &mut rows);
        self.commit.rows(&self.catalog, rows);
        self.large.current.insert(bucket, log);
        log
    }

    /// A record whose payload is on disk here: written with what ties the two together.
    pub(super) fn store_large(&mut self, log: LogNo, seq: u64, record: Record, kept: Kept) {
        self.commit.payload(log, seq, &kept);
        self.store(log, seq, record);
        let have = Arc::new(watch::Sender::new(kept.what.count()));
        let under_way = UnderWay { kept, have, fetch: None, stored: true };
        self.large
            .under_way
            .entry((log, seq))
            .and_modify(|fetched| fetched.stored = true)
            .or_insert(under_way);
    }

    /// Answered once all that was taken into this boot's current log of a bucket and lane is ordered.
    pub(super) fn barrier(&mut self, push: Push, barrier: Barrier, patience_ms: u32) -> Result<(), Status> {
        let bucket = Bucket(u16::try_from(barrier.bucket).map_err(|_| Malformed("barrier.bucket"))?);
        let log = match u8::try_from(barrier.lane).map(Lane) {
            Ok(Lane::SMALL) => self.coordinator.current(bucket),
            Ok(Lane::LARGE) => self.large.current.get(&bucket).copied(),
            _ => return Err(Malformed("barrier.lane").into()),
        };
        let open = log.and_then(|log| Some((log, self.catalog.get(log)?)));
        match open {
            Some(_) if self.coordinator.is_full() => {
                return Err(status::overloaded("too many pushes wait for their answers", RETRY_AFTER));
            }
            Some((log, known)) if known.ordered() < known.accepted() => {
                let last = known.accepted() - 1;
                self.wait_for(log, last, push, Level::Ordered, patience_ms);
            }
            _ => self.coordinator.answer(push, appended::What::Ordered(Ordered { message_id: 0 })),
        }
        Ok(())
    }
}

/// As follower.
impl Worker {
    /// How many of a holder's records may be taken: those of large payloads, as far as they say what it is and there is
    /// room.
    pub(super) fn takes_large(
        &mut self,
        node: NodeId,
        log: LogNo,
        from: u64,
        records: &[Record],
    ) -> Result<usize, Malformed> {
        if self.catalog.log(log).name.lane != Lane::LARGE {
            return Ok(records.len());
        }
        for record in records {
            ChunkedPayload::of_body(record.body.clone())?;
        }
        let known =
            usize::try_from(self.catalog.log(log).accepted().saturating_sub(from)).unwrap_or(usize::MAX);
        let takes = self.large.awaiting.room().saturating_add(known);
        if takes < records.len() {
            self.large.passed_over.insert(log, node);
        }
        Ok(takes.min(records.len()))
    }

    /// A record that continues its log, and whose payload is to be fetched before it is written.
    pub(super) fn await_payload(&mut self, source: NodeId, log: LogNo, seq: u64, record: Record) {
        let what = ChunkedPayload::of_body(record.body.clone()).expect("checked before it was accepted");
        let kept = Kept { number: self.payload_number(), what: Arc::new(what) };
        let have = Arc::new(watch::Sender::new(0));
        let under_way = UnderWay { kept, have, fetch: None, stored: false };
        self.large.under_way.insert((log, seq), under_way);
        self.large.awaiting.push(log, seq, Taken { record, source });
        self.grown.insert(log);
        self.fetch_payloads();
    }

    fn fetch_payloads(&mut self) {
        while let Some((log, seq)) = self.large.awaiting.next_fetch() {
            let name = self.catalog.log(log).name;
            let source = self.large.awaiting.get(log, seq).and_then(|taken| self.layout.peer(taken.source));
            let mut sources: Vec<Arc<str>> = source.iter().map(|peer| peer.address.clone()).collect();
            let others = self.addresses(&name);
            sources.extend(
                others.into_iter().filter(|other| source.is_none_or(|first| first.address != *other)),
            );
            let Some(under_way) = self.large.under_way.get_mut(&(log, seq)) else { continue };
            let (kept, have) = (under_way.kept.clone(), under_way.have.clone());
            let wanted = Wanted { name, at: (log, seq), kept, have, sources };
            let fetch = self.large.fetches.clone().run(wanted);
            under_way.fetch = Some(self.host.process.spawn("store-payload", fetch));
        }
    }

    pub(super) fn payload_fetched(&mut self, log: LogNo, seq: u64, complete: bool) {
        if complete {
            for (seq, taken) in self.large.awaiting.completed(log, seq) {
                if let Some(under_way) = self.large.under_way.get(&(log, seq)) {
                    let kept = under_way.kept.clone();
                    self.metrics.payloads_followed.inc();
                    self.store_large(log, seq, taken.record, kept);
                }
            }
            self.ask_for_passed_over();
        } else {
            self.large.awaiting.failed(log, seq);
        }
        self.fetch_payloads();
    }

    /// There is room again for records that were not taken.
    fn ask_for_passed_over(&mut self) {
        if self.large.awaiting.room() < RECORDS_AWAITING_MAX / 2 {
            return;
        }
        for (log, node) in std::mem::take(&mut self.large.passed_over) {
            let Some(known) = self.catalog.get(log) else { continue };
            let want = Want { log: Some(known.name.into()), from: known.accepted(), stop: false };
            self.want(node, want);
        }
    }
}

/// Both.
impl Worker {
    /// Records of a log are on disk here: their payloads are found there from now on.
    pub(super) fn large_durable(&mut self, log: LogNo, end: u64) {
        let large = &mut self.large;
        while let Some((&at, _)) = large.under_way.range((log, 0)..(log, end)).next() {
            if let Some(under_way) = large.under_way.remove(&at) {
                large.undecided.insert(at, under_way.kept.number);
            }
        }
    }

    /// What is ordered stays; it goes by trim alone.
    pub(super) fn large_second(&mut self) {
        self.ask_for_passed_over();
        let catalog = &self.catalog;
        let undecided = |log, seq| catalog.get(log).is_some_and(|log| seq >= log.ordered());
        self.large.undecided.retain(|&(log, seq), _| undecided(log, seq));
    }

    /// A log has come to its end: what lies beyond is waited for no more, and the chunks of what is here go with it.
    pub(super) fn drop_large_beyond(&mut self, log: LogNo, end: u64) {
        self.large.awaiting.drop_from(log, end);
        let beyond = (log, end)..(log, u64::MAX);
        while let Some((&at, _)) = self.large.under_way.range(beyond.clone()).next() {
            match self.large.under_way.remove(&at) {
                // With the rows that drop its record, which may be on disk by then.
                Some(under_way) if under_way.stored => self.commit.drop_chunks(under_way.kept.number),
                Some(under_way) => self.drop_payload(under_way.kept.number, under_way.fetch),
                None => {}
            }
        }
        while let Some((&at, _)) = self.large.undecided.range(beyond.clone()).next() {
            if let Some(number) = self.large.undecided.remove(&at) {
                self.commit.drop_chunks(number);
            }
        }
        self.fetch_payloads();
    }

    pub(super) fn forget_large(&mut self, log: LogNo) {
        self.large.passed_over.remove(&log);
    }

    /// Takes chunks away once nobody writes more of them. A crash before leaves it to the next start.
    fn drop_payload(&self, number: PayloadNo, fetch: Option<Task>) {
        let storage = self.large.fetches.storage().clone();
        self.host.process.spawn("store-drop-payload", async move {
            if let Some(fetch) = fetch {
                fetch.abort();
                fetch.ended().await;
            }
            let mut batch = Batch::new();
            payloads::drop_begun(&mut batch, number);
            // A disk that fails ends the process by whoever waits for it.
            let _ = storage.write(batch).await;
        });
    }

    pub(super) fn locate_payload(&self, name: &LogName, seq: u64) -> Option<PayloadAt> {
        let log = self.catalog.find_log(name)?;
        if let Some(UnderWay { kept, have, .. }) = self.large.under_way.get(&(log, seq)) {
            return Some(PayloadAt::UnderWay { log, kept: kept.clone(), have: have.subscribe() });
        }
        (seq < self.catalog.log(log).durable()).then_some(PayloadAt::OnDisk(log))
    }

    pub(super) fn locate_message(&self, topic: TopicId, id: u64) -> Option<Vec<IndexRun>> {
        let topic = self.catalog.topic(topic).filter(|topic| !topic.deleted)?;
        (1..=topic.watermark()).contains(&id).then(|| topic.runs_from(id, 1))
    }

    /// Writes a chunk again, unless its record was dropped meanwhile.
    pub(super) fn rewrite_chunk(
        &mut self,
        (log, seq): (LogName, u64),
        (payload, chunk): (PayloadNo, u32),
        bytes: bytes::Bytes,
        reply: oneshot::Sender<()>,
    ) {
        if self.is_kept(&log, seq) {
            self.commit.rewrite_chunk((payload, chunk), bytes, (log, reply));
        }
    }
}
