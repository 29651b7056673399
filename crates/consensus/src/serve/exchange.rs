//! One peer's requests: begun in the order they came, answered as they are done, as many per message as are done.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use trunkline_ports::{Host, Receiver, Responder};
use trunkline_types::limits::SILENCE_MAX;
use trunkline_wire::Status;
use trunkline_wire::internal::{RaftFrame, RaftFrames};

use super::{answer, check};
use crate::members::Members;

/// Requests under way; beyond it the peer waits.
const IN_FLIGHT_MAX: usize = 4_096;
const FRAMES_MAX: usize = 256;

type Answers = FuturesUnordered<BoxFuture<'static, RaftFrame>>;

enum Event {
    Message(Result<Option<RaftFrames>, Status>),
    Answer(RaftFrame),
    Silence,
}

pub(super) async fn serve(
    host: Host,
    members: Arc<Members>,
    mut requests: Receiver<RaftFrames>,
    responses: Responder<RaftFrames>,
) -> Result<(), Status> {
    let first = requests.next().await?.unwrap_or_default();
    check(&host, first.hello.as_ref())?;
    let hello = RaftFrames { hello: Some(host.envelope()), frames: Vec::new() };
    if responses.send(&hello).await.is_err() {
        return Ok(());
    }
    let mut answers = Answers::new();
    first.frames.into_iter().for_each(|frame| answers.push(answer::answer(&members, frame)));
    loop {
        let message = match next(&mut requests, &mut answers).await {
            Event::Message(Ok(Some(message))) => begin(message, &members, &mut answers),
            Event::Message(Ok(None)) => return Ok(()),
            Event::Message(Err(status)) => return Err(status),
            Event::Answer(first) => {
                // Other groups' entries have come to disk by the same fsync: their answers go along.
                tokio::task::yield_now().await;
                Some(gather(first, &mut answers))
            }
            Event::Silence => return Err(Status::unavailable("the caller is silent")),
        };
        if let Some(message) = message
            && responses.send(&message).await.is_err()
        {
            return Ok(());
        }
    }
}

async fn next(requests: &mut Receiver<RaftFrames>, answers: &mut Answers) -> Event {
    let has_room = answers.len() < IN_FLIGHT_MAX;
    tokio::select! {
        biased;
        Some(answer) = answers.next() => Event::Answer(answer),
        message = tokio::time::timeout(SILENCE_MAX, requests.next()), if has_room => {
            message.map_or(Event::Silence, Event::Message)
        }
    }
}

/// Begins what a message asks. An empty one is answered at once: the caller only wants to hear something.
fn begin(message: RaftFrames, members: &Arc<Members>, answers: &mut Answers) -> Option<RaftFrames> {
    let is_empty = message.frames.is_empty();
    message.frames.into_iter().for_each(|frame| answers.push(answer::answer(members, frame)));
    is_empty.then(RaftFrames::default)
}

/// Everything that is done by now.
fn gather(first: RaftFrame, answers: &mut Answers) -> RaftFrames {
    let mut frames = vec![first];
    while frames.len() < FRAMES_MAX
        && let Some(Some(answer)) = answers.next().now_or_never()
    {
        frames.push(answer);
    }
    RaftFrames { hello: None, frames }
}
