//! Push and receipts.

use std::time::Duration;

use trunkline_ports::Class;
use trunkline_wire::Status;
use trunkline_wire::check;
use trunkline_wire::status::from_message;
use trunkline_wire::v1::{
    AckLevel, GetReceiptRequest, GetReceiptResponse, Message, PushRequest, PushResult, push_service,
};

use crate::client::{Client, IDEMPOTENT, Needs};
use crate::options::StreamOptions;
use crate::payload::PayloadSource;
use crate::retry::Kind;

/// A message that reached its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Opaque; empty at `NONE`.
    pub receipt: String,
    /// From `ORDERED` on.
    pub message_id: Option<u64>,
    pub reached: AckLevel,
    /// At `EVERYWHERE`: the datacenters that have it on disk.
    pub datacenters: Vec<String>,
}

/// A message that did not reach its level.
#[derive(Clone, Debug)]
pub struct Failure {
    /// `trunkline_wire::status::is_not_stored` says whether it may have been stored.
    pub status: Status,
    /// Where it was stored all the same.
    pub receipt: Option<String>,
    pub reached: AckLevel,
}

/// One message's result.
pub type Outcome = Result<Pushed, Failure>;

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { status, receipt: None, reached: AckLevel::Unspecified }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.status.message())
    }
}

impl Client {
    /// Pushes messages to a topic, in order, and creates the topic if need be. Made again, here or elsewhere, only
    /// when it is certain that nothing was stored.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` before anything is sent, where a limit is exceeded. The call's status when none of it was stored, or when it broke and nothing is known of it.
    pub async fn push(
        &self,
        topic: &str,
        messages: Vec<Message>,
        level: AckLevel,
    ) -> Result<Vec<Outcome>, Status> {
        check::messages(&messages)?;
        let count = messages.len();
        let request = PushRequest { topic: topic.to_owned(), messages, ack_level: level.into() };
        let needs = Needs {
            class: Class::Records,
            kind: Kind::Push,
            deadline: self.deadline(Duration::ZERO),
            wait: Duration::ZERO,
        };
        let answer = self.call(push_service::PUSH, &request, needs).await?;
        if answer.results.len() != count {
            return Err(Status::internal("the server has not answered every message"));
        }
        Ok(answer.results.into_iter().map(outcome).collect())
    }

    /// Pushes one message, of whatever size.
    ///
    /// # Errors
    /// As [`Client::push`], and the message's own failure.
    pub async fn push_one(&self, topic: &str, mut message: Message, level: AckLevel) -> Outcome {
        if message.payload.len() as u64 > self.inner.options.inline_bytes_max {
            let payload = std::mem::take(&mut message.payload);
            return self.push_large(topic, message, payload, level).await;
        }
        let mut outcomes = self.push(topic, vec![message], level).await?;
        outcomes.pop().expect("one result for one message")
    }

    /// Pushes one message with a payload that is not in memory, in chunks.
    ///
    /// # Errors
    /// As [`Client::push_one`]. A payload that cannot be read was not stored.
    pub async fn push_large(
        &self,
        topic: &str,
        message: Message,
        payload: impl PayloadSource,
        level: AckLevel,
    ) -> Outcome {
        let options = StreamOptions { level, reopen: true, ..StreamOptions::default() };
        let stream = self.push_stream(topic, options);
        stream.send_large(message, payload).await?.outcome().await
    }

    /// What became of a push, wherever it was made.
    ///
    /// # Errors
    /// The call's status.
    pub async fn receipt(&self, receipt: &str) -> Result<GetReceiptResponse, Status> {
        let request = GetReceiptRequest { receipt: receipt.to_owned() };
        let needs = Needs {
            class: Class::Calls,
            kind: IDEMPOTENT,
            deadline: self.deadline(Duration::ZERO),
            wait: Duration::ZERO,
        };
        self.call(push_service::GET_RECEIPT, &request, needs).await
    }
}

pub(crate) fn outcome(result: PushResult) -> Outcome {
    let reached = result.reached();
    match &result.error {
        None => Ok(Pushed {
            receipt: result.receipt,
            message_id: (result.message_id > 0).then_some(result.message_id),
            reached,
            datacenters: result.datacenters,
        }),
        Some(error) => Err(Failure {
            status: from_message(error),
            receipt: (!result.receipt.is_empty()).then_some(result.receipt),
            reached,
        }),
    }
}
