//! The refusals of this service. Each says whether it is certain that nothing was stored.

use std::time::Duration;

use trunkline_wire::status::{self, reason};
use trunkline_wire::{Code, Status};

/// After which a push that was refused at the door may try again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The server is ending: another one takes it.
pub(crate) fn draining() -> Status {
    status::not_stored(&status::unavailable(reason::DRAINING, "this push server is shutting down"))
}

/// Refused before anything was read of it.
pub(crate) fn too_much_under_way(what: &str) -> Status {
    status::overloaded(format!("too many {what} are under way at this push server"), RETRY_AFTER)
}

/// No store of the bucket in this datacenter could be reached; nothing was sent to any.
pub(crate) fn no_coordinator(bucket: impl std::fmt::Display) -> Status {
    let message = format!("no store of bucket {bucket} can be reached in this datacenter");
    status::not_stored(&status::unavailable(reason::UNREACHABLE, message))
}

/// The record was still here when the connection to the coordinator was lost.
pub(crate) fn not_handed_over() -> Status {
    let message = "the connection to the coordinator was lost before the message was sent to it";
    status::not_stored(&status::unavailable(reason::UNREACHABLE, message))
}

/// The record was on its way, or beyond, when the connection to the coordinator was lost.
pub(crate) fn coordinator_lost() -> Status {
    let message = "the connection to the coordinator was lost; the message may have been stored";
    status::unavailable(reason::UNREACHABLE, message)
}

/// The deadline came first.
pub(crate) fn level_not_reached(wanted: &str, reached: &str) -> Status {
    let message = format!("{wanted} was not reached before the deadline, {reached}");
    status::unavailable(reason::LEVEL_NOT_REACHED, message)
}

/// The deadline came before anything was sent to a store.
pub(crate) fn no_time_left(what: &str) -> Status {
    let message = format!("{what} did not finish before the deadline");
    status::not_stored(&status::unavailable(reason::LEVEL_NOT_REACHED, message))
}

/// The deadline came before a topic was found or created.
pub(crate) fn topic_not_found_in_time(name: impl std::fmt::Display) -> Status {
    let message = format!("topic {name} could not be found or created before the deadline");
    status::not_stored(&status::unavailable(reason::NO_QUORUM, message))
}

/// The stream cannot go on in order. Messages from index `taken` on were certainly not stored.
pub(crate) fn order_not_kept(taken: u64) -> Status {
    let message =
        "the coordinator has changed: what follows could overtake what was sent before; open a new stream";
    status::with_metadata(&status::unavailable(reason::ORDER_NOT_KEPT, message), "taken", taken.to_string())
}

/// Like [`order_not_kept`], for a server that is ending.
pub(crate) fn stream_drained(taken: u64) -> Status {
    let status =
        status::unavailable(reason::DRAINING, "this push server is shutting down; open a new stream");
    status::with_metadata(&status, "taken", taken.to_string())
}

/// What a message of a stream gets that can no longer be kept in order.
pub(crate) fn refused_in_order() -> Status {
    let message = "the stream's order can no longer be kept; open a new stream";
    status::not_stored(&status::unavailable(reason::ORDER_NOT_KEPT, message))
}

/// A topic is not there, and is not to be created.
pub(crate) fn no_such_topic(name: impl std::fmt::Display) -> Status {
    status::not_stored(&status::not_found(format!("there is no topic {name}")))
}

/// A payload that was announced did not come.
pub(crate) fn payload_not_sent() -> Status {
    let message = "the payload ended, or paused for too long, before its last chunk";
    status::not_stored(&status::unavailable(reason::UNREACHABLE, message))
}

/// The topic ended while the message was stored but had no ID. It will never be delivered.
pub(crate) fn topic_deleted() -> Status {
    status::not_found("the topic was deleted before the message got its ID")
}

/// An error of another node that kept a push from being stored at all: with that certainty, and with a code that
/// may carry it.
pub(crate) fn before_storing(error: &Status) -> Status {
    match error.code() {
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal | Code::Ok => {
            let reason = status::reason_of(error).unwrap_or_else(|| reason::UNREACHABLE.to_owned());
            status::not_stored(&status::unavailable(&reason, error.message()))
        }
        _ => status::not_stored(error),
    }
}

/// Whether another node may answer what this one did not.
pub(crate) fn try_elsewhere(error: &Status) -> bool {
    let code = error.code();
    let stale =
        code == Code::FailedPrecondition && status::reason_of(error).as_deref() == Some(reason::STALE);
    stale
        || matches!(
            code,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kept_a_push_from_being_stored_is_certain_whatever_its_code_was() {
        for error in [Status::deadline_exceeded("late"), Status::internal("bug"), Status::unavailable("gone")]
        {
            let certain = before_storing(&error);
            assert!(status::is_not_stored(&certain), "{certain:?}");
            assert_eq!(certain.code(), Code::Unavailable);
        }
        let limit = before_storing(&Status::resource_exhausted("too many topics"));
        assert_eq!(limit.code(), Code::ResourceExhausted);
        assert!(status::is_not_stored(&limit));
    }

    #[test]
    fn a_lost_coordinator_is_never_certain() {
        assert!(!status::is_not_stored(&coordinator_lost()));
        assert!(!status::is_not_stored(&topic_deleted()));
        assert!(!status::is_not_stored(&order_not_kept(3)));
        assert_eq!(status::metadata_of(&order_not_kept(3), "taken").as_deref(), Some("3"));
    }
}
