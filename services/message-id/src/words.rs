//! What a session tells its store: facts of all groups, requests to begin anew, heartbeats. What is said at the same
//! time goes in one message.

use std::future::Future;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use trunkline_ports::Responder;
use trunkline_types::limits::{SILENCE_MAX, STREAM_QUEUE_MAX, WORDS_BYTES_MAX};
use trunkline_wire::internal::{SessionResponse, SessionResponses, session_response::What};
use trunkline_wire::{Message as _, Status};

use crate::session::silent;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Words(mpsc::Sender<SessionResponse>);

impl Words {
    /// What is said by it is sent for as long as the future runs, which ends with an error only.
    pub(crate) fn to(
        responses: Responder<SessionResponses>,
    ) -> (Self, impl Future<Output = Result<(), Status>>) {
        let (words, said) = mpsc::channel(STREAM_QUEUE_MAX);
        (Self(words), send_all(said, responses))
    }

    /// A store that does not read for too long is gone.
    pub(crate) async fn say(&self, what: What) -> Result<(), Status> {
        let sent =
            timeout_at(Instant::now() + SILENCE_MAX, self.0.send(SessionResponse { what: Some(what) }));
        sent.await.map_err(|_| silent())?.map_err(|_| silent())
    }
}

async fn send_all(
    mut said: mpsc::Receiver<SessionResponse>,
    responses: Responder<SessionResponses>,
) -> Result<(), Status> {
    while let Some(first) = said.recv().await {
        // Lets the other groups, which are told of their entries by the same tick, have their say.
        tokio::task::yield_now().await;
        let mut message = SessionResponses::default();
        let (mut bytes, mut next) = (0, Some(first));
        while let Some(response) = next {
            bytes += response.encoded_len();
            message.responses.push(response);
            next = if bytes < WORDS_BYTES_MAX { said.try_recv().ok() } else { None };
        }
        let sent = timeout_at(Instant::now() + SILENCE_MAX, responses.send(&message)).await;
        sent.map_err(|_| silent())?.map_err(|_| silent())?;
    }
    Err(silent())
}
