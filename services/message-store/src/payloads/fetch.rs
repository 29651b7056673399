//! A large payload from another store, for a record that this one follows. It goes on where it stopped, wherever it can
//! be had; what all payloads together have asked for is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use trunkline_ordering::store::LogNo;
use trunkline_ports::{CallOptions, Class, Host, Peer, Receiver, Sender, Storage, StorageError};
use trunkline_types::LogName;
use trunkline_types::limits::{CONNECT_TIMEOUT, PAYLOAD_CHUNKS_ASKED_MAX, SILENCE_MAX};
use trunkline_wire::Status;
use trunkline_wire::internal::store_service::READ_PAYLOAD;
use trunkline_wire::internal::{ReadPayloadRequest, ReadPayloadResponse, RecordPlace, read_payload_request};

use super::{Chunks, Kept};
use crate::follow_stream::silent;
use crate::handle::{Handle, Input};

/// Of what may be asked for, one payload takes no more than half.
const AHEAD_MAX: usize = PAYLOAD_CHUNKS_ASKED_MAX / 2;
/// Nobody had it: it is asked for again, in its turn.
const PAUSE: Duration = Duration::from_millis(500);

/// What every fetch needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetches {
    host: Host,
    handle: Handle,
    storage: Arc<dyn Storage>,
    /// Chunks that may be asked for and not be on disk.
    asked: Arc<Semaphore>,
}

impl std::fmt::Debug for Fetches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetches")
    }
}

/// What to fetch, and whom to ask, the first first.
pub(crate) struct Wanted {
    pub(crate) name: LogName,
    pub(crate) at: (LogNo, u64),
    pub(crate) kept: Kept,
    /// How many chunks are here.
    pub(crate) have: Arc<watch::Sender<u32>>,
    pub(crate) sources: Vec<Arc<str>>,
}

/// The way from one store.
struct Source {
    sender: Sender<ReadPayloadRequest>,
    receiver: Receiver<ReadPayloadResponse>,
}

impl Fetches {
    pub(crate) fn new(host: Host, handle: Handle, storage: Arc<dyn Storage>) -> Self {
        Self { host, handle, storage, asked: Arc::new(Semaphore::new(PAYLOAD_CHUNKS_ASKED_MAX)) }
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Asks one after the other, over again while anyone gives something; then says how it went.
    pub(crate) async fn run(self, wanted: Wanted) {
        let (log, seq) = wanted.at;
        let complete = loop {
            let before = *wanted.have.borrow();
            if self.round(&wanted).await {
                break true;
            }
            if *wanted.have.borrow() == before {
                sleep(PAUSE).await;
                break false;
            }
        };
        // Without a worker the process is ending.
        let _ = self.handle.tell(Input::PayloadFetched { log, seq, complete }).await;
    }

    async fn round(&self, wanted: &Wanted) -> bool {
        for address in &wanted.sources {
            match self.from(address, wanted).await {
                Ok(()) => return true,
                Err(status) => {
                    let (log, seq) = (wanted.name, wanted.at.1);
                    tracing::debug!(%log, seq, %address, %status, "a payload does not come from there");
                }
            }
        }
        false
    }

    async fn from(&self, address: &Arc<str>, wanted: &Wanted) -> Result<(), Status> {
        let mut chunks = Chunks::new(self.storage.clone(), wanted.kept.number, *wanted.have.borrow());
        let all = wanted.kept.what.count();
        if chunks.written() == all {
            return Ok(());
        }
        let mut source = self.open(address, wanted, chunks.next()).await?;
        let mut asked = chunks.next();
        let mut heard = Instant::now();
        let mut permits: std::collections::VecDeque<OwnedSemaphorePermit> = Default::default();
        loop {
            let may_ask = asked < all && permits.len() < AHEAD_MAX;
            let waits = asked > chunks.next();
            tokio::select! {
                biased;
                written = chunks.one_written() => {
                    permits.pop_front();
                    let written = written.map_err(|error| self.failed(&error))?;
                    wanted.have.send_replace(written);
                    if written == all {
                        return Ok(());
                    }
                }
                response = timeout_at(heard + SILENCE_MAX, source.receiver.next()), if waits => {
                    let response = response.map_err(|_| silent())??.ok_or_else(silent)?;
                    heard = Instant::now();
                    if !response.chunk.is_empty() {
                        if !wanted.kept.what.is_sound(chunks.next(), &response.chunk) {
                            return Err(Status::data_loss("a chunk does not fit its checksum"));
                        }
                        chunks.push(response.chunk);
                    }
                }
                permit = self.asked.clone().acquire_owned(), if may_ask => {
                    permits.extend(permit.ok());
                    if !waits {
                        heard = Instant::now();
                    }
                    asked += 1;
                    source.say(ReadPayloadRequest { credit: 1, ..ReadPayloadRequest::default() }).await?;
                }
            }
        }
    }

    async fn open(&self, address: &Arc<str>, wanted: &Wanted, first_chunk: u32) -> Result<Source, Status> {
        let place = RecordPlace { log: Some(wanted.name.into()), sequence: wanted.at.1 };
        let mut source = Source::open(&self.host, address, place, first_chunk, 0).await?;
        let first = source.hear().await?;
        if first.payload.as_ref() != Some(&*wanted.kept.what) {
            return Err(Status::data_loss("another payload answers for this record"));
        }
        Ok(source)
    }

    /// A failed write: what is on disk is unknown.
    fn failed(&self, error: &StorageError) -> Status {
        self.host.process.fail(&format!("the store cannot write: {error}"));
        Status::unavailable(error.to_string())
    }
}

impl Source {
    async fn open(
        host: &Host,
        address: &Arc<str>,
        place: RecordPlace,
        first_chunk: u32,
        credit: u32,
    ) -> Result<Self, Status> {
        let peer = Peer::new(address.clone(), Class::Payloads);
        let opening = host.network.open(&peer, READ_PAYLOAD, CallOptions::default());
        let (sender, receiver) = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| silent())??;
        let mut source = Self { sender, receiver };
        let of = Some(read_payload_request::Of::Record(place));
        source.say(ReadPayloadRequest { hello: Some(host.envelope()), of, first_chunk, credit }).await?;
        Ok(source)
    }

    async fn say(&mut self, request: ReadPayloadRequest) -> Result<(), Status> {
        let sent = timeout(SILENCE_MAX, self.sender.send(&request)).await.map_err(|_| silent())?;
        sent.map_err(|_| Status::unavailable("the stream is closed"))
    }

    async fn hear(&mut self) -> Result<ReadPayloadResponse, Status> {
        timeout(SILENCE_MAX, self.receiver.next()).await.map_err(|_| silent())??.ok_or_else(silent)
    }
}

/// One chunk of one store, unless it says otherwise.
pub(crate) async fn one_chunk(
    host: &Host,
    address: &Arc<str>,
    place: RecordPlace,
    kept: &Kept,
    chunk: u32,
) -> Result<Option<bytes::Bytes>, Status> {
    let mut source = Source::open(host, address, place, chunk, 1).await?;
    source.hear().await?;
    loop {
        let response = source.hear().await?;
        if !response.chunk.is_empty() {
            return Ok(Some(response.chunk).filter(|bytes| kept.what.is_sound(chunk, bytes)));
        }
    }
}
