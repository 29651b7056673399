//! What cannot be begun as asked: one line for the person who asked, and exit code 2.

use std::fmt;

/// The exit code.
pub(crate) const REFUSED: u8 = 2;

/// One line, in the words of the file, flag or directory that is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

macro_rules! refuses {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::new(error)
            }
        })+
    };
}

refuses!(
    trunkline_storage::DirectoryError,
    trunkline_storage::OpenError,
    trunkline_transport::BindError,
    trunkline_types::map::InvalidMap,
    trunkline_ports::ConsensusError,
    trunkline_push::StartError,
    trunkline_pop::StartError,
    trunkline_message_id::StartError,
    trunkline_subscription_position::StartError,
    trunkline_message_store::StartError,
);
