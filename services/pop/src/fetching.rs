//! Fetch: a large payload, chunk by chunk, from the nearest store that has it, and from the next where that one fails.

use std::sync::Arc;

use tokio::time::{Instant, timeout};
use trunkline_ports::{CallOptions, Class, Host, Peer, Receiver, Responder, Sender, StreamClosed};
use trunkline_types::TopicId;
use trunkline_types::limits::{
    CONNECT_TIMEOUT, DEADLINE_MARGIN, DEADLINE_MAX, FETCH_CHUNKS_AHEAD, PAYLOAD_IDLE_MAX,
};
use trunkline_wire::internal::store_service::READ_PAYLOAD;
use trunkline_wire::internal::{
    ChunkedPayload, MessagePlace, ReadPayloadRequest, ReadPayloadResponse, read_payload_request,
};
use trunkline_wire::status::{not_found, reason, reason_of};
use trunkline_wire::{Code, Status, v1};

use crate::error;
use crate::nearest::Nearest;
use crate::topics::Topics;
use crate::validate;

pub(crate) struct Fetching {
    pub(crate) topics: Arc<Topics>,
    pub(crate) nearest: Nearest,
}

/// Why one store's part has ended before the last chunk.
enum End {
    /// The client is gone, or reads no more.
    Caller(Status),
    Store(Status),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Store(status)
    }
}

/// How far one call has come.
struct Progress {
    place: MessagePlace,
    next: u32,
    told: bool,
    responses: Responder<v1::FetchResponse>,
}

/// The stream from one store.
struct Source {
    sender: Sender<ReadPayloadRequest>,
    receiver: Receiver<ReadPayloadResponse>,
    payload: ChunkedPayload,
}

impl Fetching {
    pub(crate) async fn fetch(
        &self,
        deadline: Instant,
        mut requests: Receiver<v1::FetchRequest>,
        responses: Responder<v1::FetchResponse>,
    ) -> Result<(), Status> {
        let request = requests.next().await?.unwrap_or_default();
        let name = validate::topic(&request.topic)?;
        let known_by = deadline.min(Instant::now() + DEADLINE_MAX) - DEADLINE_MARGIN;
        let Some(topic) = self.topics.resolve(&name, known_by).await? else {
            return Err(error::no_topic(&name));
        };
        let place = MessagePlace { topic_id: topic.0, message_id: request.message_id };
        let mut progress = Progress { place, next: request.first_chunk, told: false, responses };
        loop {
            let before = progress.next;
            let failed = match self.round(topic, &mut progress).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            // Whoever has given something may give more.
            if progress.next == before {
                return Err(failed);
            }
        }
    }

    /// Every store in turn; what the last word of all of them is.
    async fn round(&self, topic: TopicId, progress: &mut Progress) -> Result<(), Status> {
        let (mut absent, mut damaged, mut failed) = (None, None, None);
        for store in self.nearest.stores(topic.bucket()).iter() {
            let peer = Peer::new(store.peer.address.clone(), Class::Payloads);
            match self.from(&peer, progress).await {
                Ok(()) => return Ok(()),
                Err(End::Caller(status)) => return Err(status),
                Err(End::Store(status)) => {
                    tracing::debug!(%topic, address = %peer.address, %status, "a payload does not come from there");
                    match status.code() {
                        Code::FailedPrecondition if is_not_large(&status) => return Err(status),
                        Code::NotFound => absent = Some(status),
                        Code::DataLoss => damaged = Some(status),
                        _ => failed = Some(status),
                    }
                }
            }
        }
        let id = progress.place.message_id;
        Err(match (failed, damaged, absent) {
            (None, Some(_), _) => error::damaged(id),
            (None, None, Some(_)) => not_found(format!("there is no message {id}")),
            _ => error::out_of_time("no store could be read"),
        })
    }

    async fn from(&self, peer: &Peer, progress: &mut Progress) -> Result<(), End> {
        let mut source = Source::open(self.nearest.host(), peer, progress).await?;
        progress.tell(&source.payload).await?;
        while progress.next < source.payload.count() {
            let chunk = source.chunk().await?;
            if !source.payload.is_sound(progress.next, &chunk) {
                return Err(Status::data_loss("a chunk does not fit its checksum").into());
            }
            let checksum = source.payload.chunks[progress.next as usize];
            progress
                .pass(v1::FetchResponse { data: chunk, checksum, ..v1::FetchResponse::default() })
                .await?;
            progress.next += 1;
            source.ask_for(1).await;
        }
        Ok(())
    }
}

impl Progress {
    /// What the payload is, before its first chunk.
    async fn tell(&mut self, payload: &ChunkedPayload) -> Result<(), End> {
        if std::mem::replace(&mut self.told, true) {
            return Ok(());
        }
        let (chunk_bytes, payload) = (payload.chunk_bytes, Some(payload.public()));
        self.pass(v1::FetchResponse { payload, chunk_bytes, ..v1::FetchResponse::default() }).await
    }

    /// One chunk waits for the client at a time: more would fill memory, not the line.
    async fn pass(&mut self, response: v1::FetchResponse) -> Result<(), End> {
        let passing = async {
            self.responses.send(&response).await?;
            self.responses.flushed().await
        };
        let passed = timeout(DEADLINE_MAX, passing).await.unwrap_or(Err(StreamClosed));
        passed.map_err(|StreamClosed| End::Caller(Status::cancelled("the caller reads no more")))
    }
}

impl Source {
    async fn open(host: &Host, peer: &Peer, progress: &Progress) -> Result<Self, Status> {
        let opening = async {
            let (sender, receiver) = host.network.open(peer, READ_PAYLOAD, CallOptions::default()).await?;
            let of = Some(read_payload_request::Of::Message(progress.place));
            let (hello, credit) = (Some(host.envelope()), FETCH_CHUNKS_AHEAD);
            let request = ReadPayloadRequest { hello, of, first_chunk: progress.next, credit };
            let mut source = Self { sender, receiver, payload: ChunkedPayload::default() };
            // A send that fails says less than what the store answers.
            let _ = source.sender.send(&request).await;
            source.payload = source.hear().await?.payload.unwrap_or_default();
            source.payload.check()?;
            Ok(source)
        };
        timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn hear(&mut self) -> Result<ReadPayloadResponse, Status> {
        let heard = timeout(PAYLOAD_IDLE_MAX, self.receiver.next()).await.map_err(|_| silent())??;
        heard.ok_or_else(|| Status::unavailable("the store has ended the stream"))
    }

    async fn chunk(&mut self) -> Result<bytes::Bytes, Status> {
        loop {
            let response = self.hear().await?;
            if !response.chunk.is_empty() {
                return Ok(response.chunk);
            }
        }
    }

    /// A store that has sent all hears it no more.
    async fn ask_for(&mut self, credit: u32) {
        let _ = self.sender.send(&ReadPayloadRequest { credit, ..ReadPayloadRequest::default() }).await;
    }
}

fn is_not_large(status: &Status) -> bool {
    reason_of(status).as_deref() == Some(reason::NOT_LARGE)
}

fn silent() -> Status {
    Status::unavailable("the store does not give the payload")
}
