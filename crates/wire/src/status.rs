//! Errors as gRPC says them: a code, a sentence for people, and google.rpc details for programs.
//!
//! A refusal is not an unknown: [`not_stored`] adds `stored = "no"` to an error's `ErrorInfo`, and only a push path
//! that is certain of it may do so. Without that word, and for `DEADLINE_EXCEEDED`, `CANCELLED`, `UNKNOWN` and
//! `INTERNAL` whatever they carry, the message may have been stored.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use trunkline_types::limits::DISK_FULL_RETRY;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "trunkline";

/// Reasons in `ErrorInfo` that clients act upon. All are listed in docs/errors.md.
pub mod reason {
    pub const NOT_SUBSCRIBED: &str = "NOT_SUBSCRIBED";
    pub const DELIVERY_EXPIRED: &str = "DELIVERY_EXPIRED";
    /// The same client id has begun another Pop.
    pub const REPLACED: &str = "REPLACED";
    pub const OPTIONS_DIFFER: &str = "OPTIONS_DIFFER";
    pub const OVERLOADED: &str = "OVERLOADED";
    pub const DISK_FULL: &str = "DISK_FULL";
    pub const UNREACHABLE: &str = "UNREACHABLE";
    pub const NO_QUORUM: &str = "NO_QUORUM";
    pub const LEVEL_NOT_REACHED: &str = "LEVEL_NOT_REACHED";
    pub const ORDER_NOT_KEPT: &str = "ORDER_NOT_KEPT";
    pub const STALE: &str = "STALE";
    pub const DRAINING: &str = "DRAINING";
    /// Fetch of a message whose payload came with it.
    pub const NOT_LARGE: &str = "NOT_LARGE";
}

fn with_info(code: Code, message: impl Into<String>, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    Status::with_error_details(code, message, details)
}

/// `INVALID_ARGUMENT`, naming the field and what is wrong with it: nothing was done.
pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Status {
    let (field, problem) = (field.into(), problem.into());
    let message = format!("{field} {problem}");
    let mut details = ErrorDetails::with_bad_request_violation(field, problem);
    details.set_error_info("INVALID", DOMAIN, [("stored".to_owned(), "no".to_owned())]);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

pub fn failed_precondition(reason: &str, message: impl Into<String>) -> Status {
    with_info(Code::FailedPrecondition, message, reason)
}

/// `UNAVAILABLE`, after which the call may have had its effect.
pub fn unavailable(reason: &str, message: impl Into<String>) -> Status {
    with_info(Code::Unavailable, message, reason)
}

/// `ALREADY_EXISTS`: there is one, with other options than those given.
pub fn already_exists(message: impl Into<String>) -> Status {
    with_info(Code::AlreadyExists, message, reason::OPTIONS_DIFFER)
}

pub fn not_found(message: impl Into<String>) -> Status {
    with_info(Code::NotFound, message, "NOT_FOUND")
}

/// `RESOURCE_EXHAUSTED` with a delay after which to try again. Refused at the door: nothing was done.
pub fn overloaded(message: impl Into<String>, retry_after: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_after));
    details.set_error_info(reason::OVERLOADED, DOMAIN, [("stored".to_owned(), "no".to_owned())]);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// `RESOURCE_EXHAUSTED`, reason `DISK_FULL`, with a delay: refused before anything was written.
pub fn disk_full(message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(DISK_FULL_RETRY));
    details.set_error_info(reason::DISK_FULL, DOMAIN, []);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The same error with the certainty that nothing was stored.
pub fn not_stored(status: &Status) -> Status {
    let mut details = status.get_error_details();
    let mut metadata = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
    let reason = details.error_info().map_or_else(|| "REFUSED".to_owned(), |info| info.reason.clone());
    metadata.insert("stored".to_owned(), "no".to_owned());
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(status.code(), status.message(), details)
}

/// Whether it is certain that nothing was stored.
pub fn is_not_stored(status: &Status) -> bool {
    let certain = !matches!(
        status.code(),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal | Code::Ok
    );
    certain
        && status
            .get_details_error_info()
            .is_some_and(|info| info.metadata.get("stored").is_some_and(|stored| stored == "no"))
}

/// The reason in the error's `ErrorInfo`, if there is one.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The same error with one more entry in its `ErrorInfo`.
pub fn with_metadata(status: &Status, key: &str, value: impl Into<String>) -> Status {
    let mut details = status.get_error_details();
    let info = details.error_info();
    let reason = info.map(|info| info.reason.clone()).unwrap_or_default();
    let mut metadata = info.map(|info| info.metadata.clone()).unwrap_or_default();
    metadata.insert(key.to_owned(), value.into());
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(status.code(), status.message(), details)
}

/// One entry of the error's `ErrorInfo`, if it is there.
pub fn metadata_of(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info().and_then(|info| info.metadata.get(key).cloned())
}

/// The delay that a refusal asks for.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// As a field of a message (a push's own result).
pub fn to_message(status: &Status) -> tonic_types::Status {
    use prost::Message as _;
    tonic_types::Status::decode(status.details())
        .unwrap_or_else(|_| tonic_types::Status {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: Vec::new(),
        })
        .with_code(status)
}

/// The reverse of [`to_message`].
pub fn from_message(message: &tonic_types::Status) -> Status {
    use prost::Message as _;
    Status::with_details(Code::from(message.code), message.message.clone(), message.encode_to_vec().into())
}

trait WithCode {
    fn with_code(self, status: &Status) -> Self;
}

impl WithCode for tonic_types::Status {
    /// Errors without details have no encoded Status to decode: code and message come from the error itself.
    fn with_code(mut self, status: &Status) -> Self {
        self.code = status.code() as i32;
        status.message().clone_into(&mut self.message);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_says_that_nothing_was_stored() {
        let plain = unavailable(reason::UNREACHABLE, "no store answers");
        assert!(!is_not_stored(&plain));
        assert!(is_not_stored(&not_stored(&plain)));
        assert!(is_not_stored(&invalid("topic", "must not be empty")));
        let unknown = not_stored(&Status::internal("bug"));
        assert!(!is_not_stored(&unknown), "INTERNAL is never certain");
        assert_eq!(reason_of(&not_stored(&plain)).as_deref(), Some(reason::UNREACHABLE));
    }

    #[test]
    fn an_error_survives_being_a_field() {
        let error = overloaded("64 MiB of appends are waiting", Duration::from_millis(250));
        let back = from_message(&to_message(&error));
        assert_eq!((back.code(), back.message()), (error.code(), error.message()));
        assert_eq!(retry_after(&back), Some(Duration::from_millis(250)));
        let bare = from_message(&to_message(&Status::aborted("x")));
        assert_eq!((bare.code(), bare.message()), (Code::Aborted, "x"));
    }
}
