//! A Reads stream as bytes on their way: what a pop server asks goes to the worker, what is readable comes back, from
//! memory or from disk. Both sides fill silence and end the stream when the other side is silent.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};
use trunkline_ports::{Receiver, Responder};
use trunkline_types::limits::{CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_wire::Status;
use trunkline_wire::internal::{ReadAnswered, ReadsRequest, ReadsResponse, read_answered};
use trunkline_wire::status::{self, reason};

use crate::follow_stream::silent;
use crate::grpc::Doors;
use crate::handle::{Input, ReadAnswer, ReadReady};
use crate::outlet::Inlet;

/// Serves one pop server's stream.
pub(crate) async fn serve(
    doors: Doors,
    mut requests: Receiver<ReadsRequest>,
    responses: Responder<ReadsResponse>,
) -> Result<(), Status> {
    let first = timeout(CONNECT_TIMEOUT, requests.next()).await.map_err(|_| silent())??;
    let first = first.ok_or_else(silent)?;
    let mut map = doors.host.map.clone();
    let version = map.borrow().version;
    doors.host.check(first.hello.as_ref())?;
    let welcome = ReadsResponse { hello: Some(doors.host.envelope()), answers: Vec::new() };
    send(&responses, &welcome).await?;
    let (outlet, mut inlet) = doors.handle.outlet();
    let stream = doors.handle.stream();
    doors.handle.tell(Input::ReadsUp { stream, outlet }).await?;
    let changed = map.wait_for(|now| now.version != version);
    tokio::select! {
        biased;
        // What is held here may have changed: the pop server begins anew, under the newer map.
        Ok(_) = changed => Err(status::failed_precondition(reason::STALE, "the cluster map has changed")),
        ended = take(&doors, stream, first, &mut requests) => ended,
        ended = answer(&doors, &mut inlet, &responses) => ended,
    }
}

async fn take(
    doors: &Doors,
    stream: u64,
    first: ReadsRequest,
    requests: &mut Receiver<ReadsRequest>,
) -> Result<(), Status> {
    let mut request = first;
    loop {
        let ReadsRequest { asked, abandoned, taken_bytes, .. } = request;
        if !asked.is_empty() || !abandoned.is_empty() || taken_bytes > 0 {
            doors.handle.tell(Input::Reads { stream, asked, abandoned, taken_bytes }).await?;
        }
        let next = timeout(SILENCE_MAX, requests.next()).await.map_err(|_| silent())??;
        let Some(next) = next else { return Ok(()) };
        request = next;
    }
}

async fn answer(
    doors: &Doors,
    inlet: &mut Inlet<Vec<ReadReady>>,
    responses: &Responder<ReadsResponse>,
) -> Result<(), Status> {
    // As many as the window has room for.
    let mut from_disk = FuturesUnordered::new();
    let mut heartbeat_at = Instant::now() + HEARTBEAT_INTERVAL;
    loop {
        let mut response = ReadsResponse::default();
        tokio::select! {
            biased;
            Some(answered) = from_disk.next() => response.answers.push(answered),
            ready = inlet.next() => {
                let Some(ready) = ready else { return Ok(()) };
                for read in ready {
                    match read.answer {
                        Ok(ReadAnswer::Cold { .. }) => from_disk.push(cold(doors, read)),
                        Ok(ReadAnswer::Ready(found)) => {
                            response.answers.push(answered(read.tag, read.counted_bytes, Ok(found)));
                        }
                        Err(failed) => response.answers.push(answered(read.tag, 0, Err(failed))),
                    }
                }
            }
            () = sleep_until(heartbeat_at) => {}
        }
        if response.answers.is_empty() && Instant::now() < heartbeat_at {
            continue;
        }
        send(responses, &response).await?;
        heartbeat_at = Instant::now() + HEARTBEAT_INTERVAL;
    }
}

async fn cold(doors: &Doors, read: ReadReady) -> ReadAnswered {
    let ReadReady { tag, request, counted_bytes, answer, turn: _turn, span: _span } = read;
    let found = match answer {
        Ok(answer) => doors.found(&request, answer).await,
        Err(failed) => Err(failed),
    };
    answered(tag, counted_bytes, found)
}

fn answered(
    tag: u64,
    counted_bytes: u64,
    found: Result<trunkline_wire::internal::ReadResponse, Status>,
) -> ReadAnswered {
    let what = match found {
        Ok(found) => read_answered::What::Read(found),
        Err(failed) => read_answered::What::Failed(status::to_message(&failed)),
    };
    ReadAnswered { tag, counted_bytes, what: Some(what) }
}

async fn send(responses: &Responder<ReadsResponse>, response: &ReadsResponse) -> Result<(), Status> {
    let sent = timeout(SILENCE_MAX, responses.send(response)).await.map_err(|_| silent())?;
    sent.map_err(|_| Status::unavailable("the stream is closed"))
}
