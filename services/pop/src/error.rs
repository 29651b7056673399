//! What can go wrong, in the words that callers hear.

use std::time::Duration;

use thiserror::Error;
use trunkline_delivery::dispatcher::{AckRefusal, Expired, PopRefusal};
use trunkline_types::{ConsumerName, TopicName};
use trunkline_wire::status::{self, reason};
use trunkline_wire::{Code, Status};

/// Why the service cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("pop: {0}")]
    Options(&'static str),
}

const OVERLOAD_DELAY: Duration = Duration::from_millis(250);

pub(crate) fn not_subscribed(topic: &TopicName, consumer: &ConsumerName) -> Status {
    let message = format!(
        "consumer {consumer} is not subscribed to topic {topic}: call Subscribe(topic = \"{topic}\", consumer = \
         \"{consumer}\") first, on the command line `trunkline subscribe {topic} {consumer}`"
    );
    status::failed_precondition(reason::NOT_SUBSCRIBED, message)
}

pub(crate) fn no_topic(topic: &TopicName) -> Status {
    status::not_found(format!("there is no topic {topic}"))
}

pub(crate) fn no_subscription(topic: &TopicName, consumer: &ConsumerName) -> Status {
    status::not_found(format!("consumer {consumer} is not subscribed to topic {topic}"))
}

/// Others change the subscription all the time. Nothing was done by this call.
pub(crate) fn contended() -> Status {
    status::unavailable(reason::STALE, "the subscription is being changed by others: try again")
}

pub(crate) fn draining() -> Status {
    status::not_stored(&status::unavailable(
        reason::DRAINING,
        "this pop server is shutting down: try another",
    ))
}

pub(crate) fn overloaded(what: &str) -> Status {
    status::overloaded(what.to_owned(), OVERLOAD_DELAY)
}

pub(crate) fn out_of_time(what: &str) -> Status {
    status::unavailable(reason::UNREACHABLE, format!("{what} within the deadline"))
}

/// Of several nodes that were asked, none has said anything: in words of the caller, who has named no node.
pub(crate) fn no_answer() -> Status {
    status::unavailable(reason::UNREACHABLE, "none of the nodes that know could be asked")
}

/// The dispatcher lives and has not answered: it may have done it.
pub(crate) fn no_reply() -> Status {
    out_of_time("the subscription's dispatcher gave no answer")
}

/// What one node said, where another that was asked as well may have done it.
pub(crate) fn without_certainty(said: &Status) -> Status {
    match status::reason_of(said) {
        Some(because) if status::is_not_stored(said) => status::unavailable(&because, said.message()),
        _ => said.clone(),
    }
}

/// `None`: somebody else dispatches the subscription.
pub(crate) fn pop(refusal: PopRefusal) -> Option<Status> {
    Some(match refusal {
        PopRefusal::Replaced => {
            let message = "this client id has begun another Pop: a client has one at a time";
            status::failed_precondition(reason::REPLACED, message)
        }
        PopRefusal::Uncommitted => {
            let message = "as much is handed out as may be without a commit, and no quorum of the subscription's \
                           position group could be reached within the deadline";
            status::unavailable(reason::NO_QUORUM, message)
        }
        PopRefusal::Unreadable => out_of_time("no store could be read"),
        PopRefusal::Damaged(id) => damaged(id),
        PopRefusal::TooManyWaiting => overloaded("too many pops wait at this subscription"),
        PopRefusal::Elsewhere => return None,
    })
}

/// `None`: somebody else dispatches the subscription.
pub(crate) fn ack(refusal: AckRefusal) -> Option<Status> {
    Some(match refusal {
        AckRefusal::Expired(Expired { count, index, id }) => {
            let message = format!(
                "tokens: {count} cannot be acknowledged any more, for their messages were handed out again, or the \
                 subscription was sought or is another one; the first is tokens[{index}], message {id}. The others are acknowledged"
            );
            status::failed_precondition(reason::DELIVERY_EXPIRED, message)
        }
        AckRefusal::Uncommitted => {
            let message = "the acknowledgement was not committed within the deadline; it may be yet";
            status::unavailable(reason::NO_QUORUM, message)
        }
        AckRefusal::TooManyWaiting => overloaded("too many acks wait at this subscription"),
        AckRefusal::Elsewhere => return None,
    })
}

/// Nothing was done.
pub(crate) fn of_another_subscription(token: &str) -> Status {
    let message = format!(
        "{token} is of another subscription, or of a topic that was deleted and created again: its message cannot be \
         acknowledged any more; pop without such tokens"
    );
    status::failed_precondition(reason::DELIVERY_EXPIRED, message)
}

pub(crate) fn damaged(id: u64) -> Status {
    Status::data_loss(format!("message {id} is corrupt on every replica that can be reached"))
}

/// Whether another node may give the answer that this one could not: it is of the way or of the node's state, not of
/// the question.
pub(crate) fn is_of_the_way(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Unimplemented => true,
        Code::FailedPrecondition => status::reason_of(status).as_deref() == Some(reason::STALE),
        _ => false,
    }
}

/// Whether nothing says that the node is alive.
pub(crate) fn is_silence(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => status::reason_of(status).is_none_or(|said| said == reason::UNREACHABLE),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => true,
        _ => false,
    }
}
