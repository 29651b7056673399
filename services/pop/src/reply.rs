//! What a dispatcher says to a call, here or to another server.

use trunkline_wire::internal::{forward_ack_response, forward_pop_response};
use trunkline_wire::status::{from_message, to_message};
use trunkline_wire::{Status, v1};

use crate::routes::Route;

#[derive(Debug)]
pub(crate) enum Reply<A> {
    Answered(A),
    Refused(Status),
    /// It does not dispatch the subscription any more; this is who does, if it knows.
    Elsewhere(Option<Route>),
}

/// A forwarded call's outcome has a type of its own for each call, and one meaning.
macro_rules! outcome {
    ($outcome:ty, $answer:ty) => {
        impl From<Option<$outcome>> for Reply<$answer> {
            fn from(outcome: Option<$outcome>) -> Self {
                type Outcome = $outcome;
                match outcome {
                    Some(Outcome::Answered(answer)) => Self::Answered(answer),
                    Some(Outcome::Refused(refused)) => Self::Refused(from_message(&refused)),
                    Some(Outcome::NotDispatcher(newer)) => Self::Elsewhere(Route::from_message(newer)),
                    None => Self::Elsewhere(None),
                }
            }
        }

        impl From<Reply<$answer>> for $outcome {
            fn from(reply: Reply<$answer>) -> Self {
                match reply {
                    Reply::Answered(answer) => Self::Answered(answer),
                    Reply::Refused(refused) => Self::Refused(to_message(&refused)),
                    Reply::Elsewhere(newer) => {
                        Self::NotDispatcher(newer.map(|to| to.to_message()).unwrap_or_default())
                    }
                }
            }
        }
    };
}

outcome!(forward_pop_response::Outcome, v1::PopResponse);
outcome!(forward_ack_response::Outcome, v1::AckResponse);
