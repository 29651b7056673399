//! Why a command did not do what was asked.

use std::io;

use trunkline_client::{Code, Status, UnknownDatacenter};
use trunkline_wire::status::is_not_stored;

/// What went wrong, by what the user can do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line or what it names is wrong.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    /// It was told already, line by line.
    #[error("some of it failed")]
    Told,
    /// Ctrl-C: whoever pressed it knows.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads standard output any more: no reason for words.
    #[error("standard output is closed")]
    Closed,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let text = describe(&status);
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Self::Usage(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error.to_string()) }
    }
}

impl From<UnknownDatacenter> for Failure {
    fn from(error: UnknownDatacenter) -> Self {
        Self::Usage(error.to_string())
    }
}

/// A status as a sentence with its code.
pub(crate) fn describe(status: &Status) -> String {
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    format!("{message} ({})", code_name(status.code()))
}

/// The same for a push: also whether it was stored.
pub(crate) fn describe_push(failure: &trunkline_client::Failure) -> String {
    let stored = match &failure.receipt {
        Some(_) => "stored",
        None if is_not_stored(&failure.status) => "not stored",
        None => "may have been stored",
    };
    format!("{}; {stored}", describe(&failure.status))
}

/// A code as gRPC spells it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
