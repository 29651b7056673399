//! A large payload, chunk by chunk, each checked; it goes on elsewhere where one server fails.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout};
use trunkline_ports::{CallOptions, Class, Receiver};
use trunkline_types::{Checksum, checksum};
use trunkline_wire::Status;
use trunkline_wire::v1::{FetchRequest, FetchResponse, LargePayload, pop_service};

use crate::client::{Client, IDEMPOTENT};
use crate::retry::{Verdict, verdict};

/// A server that gives nothing for so long is left for another.
const PATIENCE: Duration = Duration::from_secs(12);
/// Beyond it, a payload is none that this version pushes.
const CHUNKS_MAX: u32 = 1 << 20;

/// One payload on its way here. Dropping it ends that.
pub struct Fetch {
    client: Client,
    topic: String,
    message_id: u64,
    next: u32,
    bytes: u64,
    whole: Checksum,
    payload: Option<LargePayload>,
    /// From which endpoint it comes.
    source: Option<(usize, Receiver<FetchResponse>)>,
    tried: Vec<u32>,
    deadline: Instant,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("message_id", &self.message_id)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The payload of a message that came as a reference.
    pub fn fetch(&self, topic: &str, message_id: u64) -> Fetch {
        Fetch {
            client: self.clone(),
            topic: topic.to_owned(),
            message_id,
            next: 0,
            bytes: 0,
            whole: Checksum::default(),
            payload: None,
            source: None,
            tried: self.tried(),
            deadline: self.deadline(Duration::ZERO),
        }
    }
}

impl Fetch {
    /// The next chunk; `None` once all have come and the whole fits its checksum.
    ///
    /// # Errors
    /// The last server's status; `DATA_LOSS` where the bytes are not those that were pushed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if self.payload.as_ref().is_some_and(|payload| self.bytes >= payload.bytes) {
                return self.end();
            }
            let (endpoint, error) = match self.receive().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) => continue,
                Err(failed) => failed,
            };
            self.source = None;
            self.tried[endpoint] += 1;
            let verdict = match verdict(IDEMPOTENT, &error) {
                // Other disks may have it whole.
                Verdict::Final if error.code() == trunkline_wire::Code::DataLoss => {
                    Verdict::Elsewhere { suspect: false }
                }
                verdict => verdict,
            };
            if !self.client.again(verdict, endpoint, &self.tried, self.deadline).await {
                return Err(error);
            }
        }
    }

    /// All that is left of it.
    ///
    /// # Errors
    /// As [`Fetch::next`].
    pub async fn all(mut self) -> Result<Bytes, Status> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    fn end(&self) -> Result<Option<Bytes>, Status> {
        let expected = self.payload.as_ref().map(|payload| payload.checksum);
        if expected == Some(self.whole.get()) {
            return Ok(None);
        }
        Err(Status::data_loss(format!(
            "the payload of message {} does not fit its checksum",
            self.message_id
        )))
    }

    /// `None`: what came was no chunk.
    async fn receive(&mut self) -> Result<Option<Bytes>, (usize, Status)> {
        let (endpoint, mut receiver) = match self.source.take() {
            Some(source) => source,
            None => self.open().await?,
        };
        let response = match timeout(PATIENCE, receiver.next()).await {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => {
                return Err((endpoint, Status::unavailable("the server has ended the payload")));
            }
            Ok(Err(status)) => return Err((endpoint, status)),
            Err(_) => return Err((endpoint, Status::unavailable("the server gives nothing"))),
        };
        self.source = Some((endpoint, receiver));
        if let Some(payload) = response.payload {
            if self.payload.as_ref().is_some_and(|before| *before != payload) {
                return Err((endpoint, Status::data_loss("another payload answers for this message")));
            }
            self.payload = Some(payload);
        }
        if response.data.is_empty() {
            return Ok(None);
        }
        if checksum(&response.data) != response.checksum || self.next >= CHUNKS_MAX {
            return Err((endpoint, Status::data_loss("a chunk does not fit its checksum")));
        }
        // What has come shows that there is a way: trouble from here on is new.
        (self.tried, self.deadline) = (self.client.tried(), self.client.deadline(Duration::ZERO));
        self.next += 1;
        self.bytes += response.data.len() as u64;
        self.whole.update(&response.data);
        Ok(Some(response.data))
    }

    async fn open(&self) -> Result<(usize, Receiver<FetchResponse>), (usize, Status)> {
        let endpoint = self.client.endpoint(&self.tried, self.deadline).await;
        let peer = self.client.inner.peer(endpoint, Class::Payloads);
        let opening = self.client.inner.network.open(&peer, pop_service::FETCH, CallOptions::default());
        let opened = timeout(PATIENCE, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")));
        let (sender, receiver) = opened.map_err(|status| (endpoint, status))?;
        let (topic, message_id, first_chunk) = (self.topic.clone(), self.message_id, self.next);
        // Whoever cannot send it hears why.
        let _ = sender.send(&FetchRequest { topic, message_id, first_chunk }).await;
        Ok((endpoint, receiver))
    }
}
