//! What may go.

use serde::{Deserialize, Serialize};
use trunkline_types::TopicId;

/// Messages that are not kept any more, and how far every datacenter knows what was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    /// Milliseconds since 1970, proposed; order time never goes back. 0: it is that of the entry before.
    pub order_time_ms: u64,
    /// Facts at or below this index are on disk in every datacenter: what they decide to be no message, and what is
    /// left of the topics that they delete, may go. 0 where nothing new is.
    pub everywhere: u64,
    pub topics: Vec<TrimPart>,
}

/// Of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrimPart {
    pub topic: TopicId,
    /// The index that gave the topic the options under which this was proposed: under others it is refused.
    pub configured: u64,
    /// Messages with IDs below it are there no more.
    pub below: u64,
}
