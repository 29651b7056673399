//! A large payload on its way to its coordinator: chunk by chunk, never more than a few ahead of its disk. Until its
//! record is given to the coordinator, nothing of it is stored: every error here is certain.

use tokio::time::{Instant, timeout, timeout_at};
use trunkline_ports::{CallOptions, Class, Host, Peer, Receiver, Sender};
use trunkline_types::limits::{CONNECT_TIMEOUT, PAYLOAD_IDLE_MAX, UPLOAD_CHUNKS_AHEAD};
use trunkline_types::{Checksum, TopicId, checksum};
use trunkline_wire::Status;
use trunkline_wire::convert::chunked_payload::{count, length};
use trunkline_wire::internal::{ChunkedPayload, UploadRequest, UploadResponse, store_service};
use trunkline_wire::status::invalid;
use trunkline_wire::v1::PayloadChunk;

use crate::error;

/// Ends what no record has named when it is dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    sender: Sender<UploadRequest>,
    receiver: Receiver<UploadResponse>,
    number: u64,
    bytes: u64,
    chunk_bytes: u32,
    /// Of those that were sent.
    chunks: Vec<u64>,
    whole: Checksum,
    written: u32,
}

impl Upload {
    /// The store has said that it takes it.
    pub(crate) async fn begin(
        host: &Host,
        address: &str,
        topic: TopicId,
        bytes: u64,
        chunk_bytes: u32,
    ) -> Result<Self, Status> {
        let peer = Peer::new(address, Class::Payloads);
        let beginning = async {
            let opening = host.network.open(&peer, store_service::UPLOAD, CallOptions::default());
            let (sender, mut receiver) = opening.await?;
            let (hello, topic_id) = (Some(host.envelope()), topic.0);
            let first = UploadRequest { hello, topic_id, bytes, chunk_bytes, ..UploadRequest::default() };
            // A send that fails says less than what the store answers.
            let _ = sender.send(&first).await;
            let welcome = receiver.next().await?.ok_or_else(ended)?;
            let (number, chunks, whole) = (welcome.upload, Vec::new(), Checksum::default());
            Ok(Self { sender, receiver, number, bytes, chunk_bytes, chunks, whole, written: 0 })
        };
        let begun = timeout(CONNECT_TIMEOUT, beginning).await.unwrap_or_else(|_| Err(silent()));
        begun.map_err(|why| error::before_storing(&why))
    }

    /// Names it in its record, to the boot of the store that took it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// All chunks were sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.chunks.len() as u64 == u64::from(self.count())
    }

    fn count(&self) -> u32 {
        count(self.bytes, self.chunk_bytes)
    }

    fn sent(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap_or(u32::MAX)
    }

    /// Sends the next chunk, once the store has written enough of those before.
    pub(crate) async fn send(&mut self, chunk: PayloadChunk) -> Result<(), Status> {
        let at = self.sent();
        let expected = length(self.bytes, self.chunk_bytes, at);
        let found = chunk.data.len() as u64;
        if found != expected {
            return Err(invalid("chunk.data", format!("is {found} bytes long, chunk {at} has {expected}")));
        }
        let sum = checksum(&chunk.data);
        if chunk.checksum.is_some_and(|declared| declared != sum) {
            return Err(invalid("chunk.checksum", "does not fit the data"));
        }
        self.whole.update(&chunk.data);
        self.chunks.push(sum);
        if self.is_sent() && chunk.payload_checksum.is_some_and(|declared| declared != self.whole.get()) {
            return Err(invalid("chunk.payload_checksum", "does not fit the payload"));
        }
        while at - self.written >= UPLOAD_CHUNKS_AHEAD {
            self.hear().await?;
        }
        let (chunk, checksum) = (chunk.data, sum);
        let request = UploadRequest { chunk, checksum, ..UploadRequest::default() };
        let sent = timeout(PAYLOAD_IDLE_MAX, self.sender.send(&request)).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(error::before_storing(&self.why().await)) }
    }

    /// All of it is on disk at the store.
    pub(crate) async fn finish(&mut self) -> Result<ChunkedPayload, Status> {
        while self.written < self.count() {
            self.hear().await?;
        }
        let (bytes, chunk_bytes, checksum) = (self.bytes, self.chunk_bytes, self.whole.get());
        Ok(ChunkedPayload { bytes, chunk_bytes, checksum, chunks: self.chunks.clone() })
    }

    async fn hear(&mut self) -> Result<(), Status> {
        let heard = timeout(PAYLOAD_IDLE_MAX, self.receiver.next()).await.unwrap_or_else(|_| Err(silent()));
        match heard {
            Ok(Some(response)) => {
                self.written = response.written.clamp(self.written, self.sent());
                Ok(())
            }
            Ok(None) => Err(error::before_storing(&ended())),
            Err(why) => Err(error::before_storing(&why)),
        }
    }

    /// What the store said before it ended the stream.
    async fn why(&mut self) -> Status {
        let until = Instant::now() + CONNECT_TIMEOUT;
        while let Ok(said) = timeout_at(until, self.receiver.next()).await {
            match said {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(why) => return why,
            }
        }
        ended()
    }
}

fn ended() -> Status {
    Status::unavailable("the store has ended the upload")
}

fn silent() -> Status {
    Status::unavailable("the store does not take the payload")
}
