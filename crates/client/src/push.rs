//! Push and receipts.

use std::time::Duration;

use trunkline_ports::Class;
use trunkline_wire::Status;
use trunkline_wire::check;
use trunkline_wire::status::{from_message, is_not_stored, reason, reason_of, to_message};
use trunkline_wire::v1::{
    AckLevel, GetReceiptRequest, GetReceiptResponse, Message, PushRequest, PushResult, push_service,
};

use crate::client::{Client, IDEMPOTENT, Needs, lost};
use crate::producer::unname;
use crate::retry::{Kind, Verdict, uncertain, verdict};

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
    /// A message of the same producer and sequence was there before; the ID is that one's.
    pub duplicate: bool,
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
    /// Pushes messages to a topic, in order, and creates the topic if need be. Made again, here or elsewhere, where it
    /// may help: messages that have a producer id, as all have unless the options say otherwise, count once; without one
    /// only when it is certain that nothing was stored.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` before anything is sent, where a limit is exceeded. The call's status when none of it was stored, or when it broke and nothing is known of it.
    pub async fn push(
        &self,
        topic: &str,
        mut messages: Vec<Message>,
        level: AckLevel,
    ) -> Result<Vec<Outcome>, Status> {
        check::messages(&messages)?;
        if self.inner.options.producers {
            self.producer().name(&self.inner.process, topic, &mut messages);
        }
        let kind = Kind::of_push(&messages);
        let mut request = PushRequest { topic: topic.to_owned(), messages, ack_level: level.into() };
        let needs = Needs {
            class: Class::Records,
            kind,
            deadline: self.deadline(Duration::ZERO),
            wait: Duration::ZERO,
        };
        let mut answer = self.call_push(&request, needs).await;
        if self.goes_without_producer(&mut request, &answer) {
            answer = self.call_push(&request, Needs { kind: Kind::Push, ..needs }).await;
        }
        let failed = |result: &PushResult| result.error.is_some();
        if answer.as_ref().map_or(true, |results| results.iter().any(failed)) {
            self.producer().failed();
        }
        let results = answer?;
        if results.len() != request.messages.len() {
            return Err(Status::internal("the server has not answered every message"));
        }
        Ok(results.into_iter().map(outcome).collect())
    }

    /// Whether the cluster takes no more producers here: what this client has named itself is pushed without, then.
    fn goes_without_producer(
        &self,
        request: &mut PushRequest,
        answer: &Result<Vec<PushResult>, Status>,
    ) -> bool {
        let mut producer = self.producer();
        let own = request.messages.iter().all(|message| producer.is_own(message));
        let is_it = own && answer.as_ref().is_err_and(is_producer_limit);
        if is_it {
            producer.too_many(&request.topic);
            request.messages.iter_mut().for_each(unname);
        }
        is_it
    }

    async fn call_push(&self, request: &PushRequest, needs: Needs) -> Result<Vec<PushResult>, Status> {
        self.inner.deposit();
        let mut tried = self.tried();
        let mut stored = false;
        loop {
            let endpoint = self.endpoint(&tried, needs.deadline).await;
            let answer = self.attempt(endpoint, push_service::PUSH, request, needs).await;
            let answer = answer.map(|answer| answer.results);
            let why = match &answer {
                // What is not certain is the caller's; and what is, its server has tried again.
                Ok(_) if needs.kind == Kind::Push => None,
                Ok(results) => failed_as_a_whole(results),
                Err(why) => Some(why.clone()),
            };
            let Some(why) = why else { return answer };
            tried[endpoint] += 1;
            let verdict = verdict(needs.kind, &why);
            if verdict == Verdict::Final && lost(&why) {
                // The outcome is unknown and the caller's to handle; the next call goes elsewhere.
                self.inner.failed(endpoint);
            }
            if !self.again(verdict, endpoint, &tried, needs.deadline).await {
                return if stored { no_longer_certain(answer) } else { answer };
            }
            stored |= !is_not_stored(&why);
        }
    }

    /// Pushes one message.
    ///
    /// # Errors
    /// As [`Client::push`], and the message's own failure.
    pub async fn push_one(&self, topic: &str, message: Message, level: AckLevel) -> Outcome {
        let mut outcomes = self.push(topic, vec![message], level).await?;
        outcomes.pop().expect("one result for one message")
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

/// Why nothing of it was acknowledged, or even stored with a receipt.
fn failed_as_a_whole(results: &[PushResult]) -> Option<Status> {
    let fails = |result: &PushResult| result.error.is_some() && result.receipt.is_empty();
    let first = results.first().and_then(|result| result.error.as_ref());
    first.filter(|_| results.iter().all(fails)).map(from_message)
}

/// An earlier attempt may have stored what the last one did not.
fn no_longer_certain(answer: Result<Vec<PushResult>, Status>) -> Result<Vec<PushResult>, Status> {
    let mut results = answer.map_err(|why| uncertain(&why))?;
    for error in results.iter_mut().filter_map(|result| result.error.as_mut()) {
        *error = to_message(&uncertain(&from_message(error)));
    }
    Ok(results)
}

/// A topic has too many producers, or a producer too many gaps.
pub(crate) fn is_producer_limit(why: &Status) -> bool {
    reason_of(why).as_deref() == Some(reason::PRODUCER_LIMIT)
}

pub(crate) fn outcome(result: PushResult) -> Outcome {
    let reached = result.reached();
    match &result.error {
        None => Ok(Pushed {
            receipt: result.receipt,
            message_id: (result.message_id > 0).then_some(result.message_id),
            reached,
            datacenters: result.datacenters,
            duplicate: result.duplicate,
        }),
        Some(error) => Err(Failure {
            status: from_message(error),
            receipt: (!result.receipt.is_empty()).then_some(result.receipt),
            reached,
        }),
    }
}
