//! A large payload to whoever asks for it, chunk by chunk, never more than it has asked for. One that is still coming in
//! is passed on as it comes.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use trunkline_ordering::store::LogNo;
use trunkline_ports::{Receiver, Responder};
use trunkline_types::limits::{CONNECT_TIMEOUT, DEADLINE_MAX, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_types::{LogName, TopicId};
use trunkline_wire::Status;
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal::{
    MessagePlace, ReadPayloadRequest, ReadPayloadResponse, ReadRequest, RecordPlace, read_payload_request,
};
use trunkline_wire::status::{failed_precondition, not_found, reason, unavailable};

use super::{Kept, chunk, of_record};
use crate::cold;
use crate::convert;
use crate::follow_stream::silent;
use crate::grpc::Doors;
use crate::handle::Input;

/// A payload that comes in and of which nothing came for so long: whoever waits for it asks another.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// Where the worker has a record's payload.
#[derive(Debug)]
pub(crate) enum PayloadAt {
    /// Its record is not on disk here yet; so many chunks are.
    UnderWay {
        log: LogNo,
        kept: Kept,
        have: watch::Receiver<u32>,
    },
    OnDisk(LogNo),
}

struct Found {
    at: (LogNo, u64),
    kept: Kept,
    /// `None`: all of it is here.
    have: Option<watch::Receiver<u32>>,
    /// A reader's, for whom a chunk that is not sound is fetched anew.
    repair: bool,
}

pub(crate) async fn serve(
    doors: Doors,
    mut requests: Receiver<ReadPayloadRequest>,
    responses: Responder<ReadPayloadResponse>,
) -> Result<(), Status> {
    let first = timeout(CONNECT_TIMEOUT, requests.next()).await.map_err(|_| silent())??.ok_or_else(silent)?;
    doors.host.check(first.hello.as_ref())?;
    let mut found = match first.of.ok_or(Malformed("of"))? {
        read_payload_request::Of::Record(place) => by_record(&doors, place).await?,
        read_payload_request::Of::Message(place) => by_message(&doors, place).await?,
    };
    let payload = Some((*found.kept.what).clone());
    answer(&responses, &ReadPayloadResponse { payload, chunk: Bytes::new() }).await?;
    let mut credit = first.credit;
    for next in first.first_chunk..found.kept.what.count() {
        while credit == 0 {
            let more = timeout(DEADLINE_MAX, requests.next()).await.map_err(|_| silent())??;
            let Some(more) = more else { return Ok(()) };
            credit = credit.saturating_add(more.credit);
        }
        credit -= 1;
        found.wait_for(next, &responses).await?;
        let chunk = found.read(&doors, next).await?;
        doors.metrics.payload_bytes.inc_by(chunk.len() as u64);
        answer(&responses, &ReadPayloadResponse { payload: None, chunk }).await?;
    }
    Ok(())
}

async fn by_record(doors: &Doors, place: RecordPlace) -> Result<Found, Status> {
    let (log, seq) = (convert::log_name(place.log)?, number(place.sequence, "sequence")?);
    let not_here = || not_found("the payload is not here");
    let log = match doors.handle.ask(|reply| Input::LocatePayload { log, seq, reply }).await? {
        Some(PayloadAt::UnderWay { log, kept, have }) => {
            return Ok(Found { at: (log, seq), kept, have: Some(have), repair: false });
        }
        Some(PayloadAt::OnDisk(log)) => log,
        None => closed(doors, &log, seq).await?.ok_or_else(not_here)?,
    };
    let kept = of_record(&*doors.storage, log, seq).await.map_err(|error| cold::failed(&error))?;
    Ok(Found { at: (log, seq), kept: kept.ok_or_else(not_here)?, have: None, repair: false })
}

async fn closed(doors: &Doors, log: &LogName, seq: u64) -> Result<Option<LogNo>, Status> {
    let located = cold::locate_closed(&*doors.storage, log).await?;
    Ok(located.filter(|location| seq < location.durable).map(|location| location.log))
}

/// By the index; a message that is not readable here, or not yet, is not found.
async fn by_message(doors: &Doors, place: MessagePlace) -> Result<Found, Status> {
    let (topic_id, id) = (place.topic_id, number(place.message_id, "message_id")?);
    let not_here = || not_found(format!("message {id} is not here"));
    let topic = TopicId(topic_id);
    let runs = doors.handle.ask(|reply| Input::LocateMessage { topic, id, reply }).await?;
    let request = ReadRequest { topic_id, from: id, max_messages: 1, ..ReadRequest::default() };
    let runs = cold::index(&*doors.storage, &request, id + 1, 1, runs.ok_or_else(not_here)?).await;
    let runs = runs.map_err(|error| cold::failed(&error))?;
    let run = runs.into_iter().find(|run| run.first <= id && id < run.end()).ok_or_else(not_here)?;
    let at = (run.log, run.seq_of(id));
    let kept = of_record(&*doors.storage, at.0, at.1).await.map_err(|error| cold::failed(&error))?;
    let not_large = || failed_precondition(reason::NOT_LARGE, format!("message {id} is not a large one"));
    Ok(Found { at, kept: kept.ok_or_else(not_large)?, have: None, repair: true })
}

impl Found {
    /// Waits until a chunk is on disk here, as long as there is any progress.
    async fn wait_for(
        &mut self,
        chunk: u32,
        responses: &Responder<ReadPayloadResponse>,
    ) -> Result<(), Status> {
        let Some(have) = &mut self.have else { return Ok(()) };
        let mut moved_at = Instant::now();
        while *have.borrow_and_update() <= chunk {
            match timeout(HEARTBEAT_INTERVAL, have.changed()).await {
                Ok(Ok(())) => moved_at = Instant::now(),
                Ok(Err(_)) if *have.borrow() > chunk => return Ok(()),
                Ok(Err(_)) => return Err(not_found("the payload is here no more")),
                Err(_) if moved_at.elapsed() >= STALLED_AFTER => {
                    return Err(unavailable(reason::UNREACHABLE, "the payload does not come in here"));
                }
                Err(_) => answer(responses, &ReadPayloadResponse::default()).await?,
            }
        }
        Ok(())
    }

    async fn read(&self, doors: &Doors, next: u32) -> Result<Bytes, Status> {
        if let Some(bytes) = chunk(&*doors.storage, &self.kept, next).await {
            return Ok(bytes);
        }
        if !self.repair {
            // Another store finds it elsewhere; here it is mended meanwhile.
            doors.repairs.chunk_in_background(self.at, self.kept.clone(), next);
            return Err(Status::data_loss(format!("chunk {next} cannot be read here")));
        }
        let repaired = doors.repairs.chunk(self.at, &self.kept, next).await;
        repaired.map_err(|error| cold::not_repaired(error, &format!("chunk {next} of a payload")))
    }
}

async fn answer(
    responses: &Responder<ReadPayloadResponse>,
    response: &ReadPayloadResponse,
) -> Result<(), Status> {
    let sent = timeout(SILENCE_MAX, responses.send(response)).await.map_err(|_| silent())?;
    sent.map_err(|_| Status::unavailable("the stream is closed"))
}
