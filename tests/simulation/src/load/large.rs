//! Messages whose payload comes in chunks: their key has the message's number, and a fetch shows the bytes.

use trunkline_ports::Sender;
use trunkline_testkit::Random;
use trunkline_wire::Status;
use trunkline_wire::v1::{self, LargeMessage, PayloadChunk, PushStreamRequest, ReceivedMessage};

use super::Shared;
use crate::oracle::{Message, payload};
use crate::plan::{CHUNK_BYTES, INLINE_BYTES_MAX};

/// A few to a few dozen chunks.
const BYTES_MAX: u64 = 30 * CHUNK_BYTES;

/// Sends one in chunks; some publishers stop half-way.
pub(super) async fn send(
    sender: &Sender<PushStreamRequest>,
    topic: String,
    level: v1::AckLevel,
    message: Message,
    random: &Random,
) -> Result<(), Status> {
    let bytes = INLINE_BYTES_MAX + 1 + random.below(BYTES_MAX);
    let payload = bytes::Bytes::from(payload(message, usize::try_from(bytes).unwrap_or(0)));
    let gone = |_| Status::unknown("the stream has ended");
    let named = v1::Message { key: message.key(), ..v1::Message::default() };
    let large = LargeMessage { message: Some(named), payload_bytes: payload.len() as u64 };
    let (ack_level, large) = (level.into(), Some(large));
    sender.send(&PushStreamRequest { topic, ack_level, large, ..PushStreamRequest::default() }).await.map_err(gone)?;
    let chunk_bytes = usize::try_from(CHUNK_BYTES).unwrap_or(1);
    let chunks = payload.len().div_ceil(chunk_bytes);
    let stops = random.one_in(20).then(|| usize::try_from(random.below(chunks as u64)).unwrap_or(0));
    for (number, chunk) in payload.chunks(chunk_bytes).enumerate() {
        if stops == Some(number) {
            return Err(Status::unknown("its publisher has vanished"));
        }
        let chunk = PayloadChunk { data: payload.slice_ref(chunk), ..PayloadChunk::default() };
        let request = PushStreamRequest { chunk: Some(chunk), ..PushStreamRequest::default() };
        sender.send(&request).await.map_err(gone)?;
    }
    Ok(())
}

/// Fetches a large message where it was seen; false if it could not be had.
pub(super) async fn look(shared: &Shared, datacenter: usize, topic: usize, received: &ReceivedMessage) -> bool {
    let Some(large) = &received.large else { return true };
    let client = &shared.clients[datacenter][datacenter];
    let fetched = client.fetch(&shared.plan.topic(topic), received.message_id).await;
    let Ok(bytes) = fetched else { return false };
    let message = Message::of_received(received);
    let pushed = message.is_some_and(|message| payload(message, bytes.len()) == bytes);
    if !pushed || bytes.len() as u64 != large.bytes {
        let said = format!("topic {topic}, ID {}: fetched in {}", received.message_id, client.name());
        shared.oracle.with(|record| record.foreign.push(said));
    }
    true
}
