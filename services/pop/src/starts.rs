//! Which ID a start is: resolved once, when a subscription is created or sought; and of a reader that names a time.

use std::sync::Arc;

use tokio::time::Instant;
use trunkline_types::TopicId;
use trunkline_wire::convert::timestamp;
use trunkline_wire::v1::start::At;
use trunkline_wire::{Status, status};

use crate::stores::Stores;

pub(crate) struct Starts {
    stores: Arc<Stores>,
}

impl Starts {
    pub(crate) fn new(stores: Arc<Stores>) -> Arc<Self> {
        Arc::new(Self { stores })
    }

    /// The first ID to deliver. LATEST is a store's watermark + 1: everything whose push begins after this has a
    /// higher one. `field` is what the caller wrote it in.
    pub(crate) async fn resolve(
        &self,
        topic: TopicId,
        at: &At,
        field: &str,
        deadline: Instant,
    ) -> Result<u64, Status> {
        match at {
            At::Latest(_) => Ok(self.stores.ends(topic, deadline).await?.watermark + 1),
            At::Earliest(_) => Ok(self.stores.ends(topic, deadline).await?.earliest.max(1)),
            At::MessageId(id) => {
                let near = self.stores.ends(topic, deadline).await?.watermark;
                if *id <= near + 1 {
                    return Ok(*id);
                }
                match self.stores.watermark_highest(topic, deadline).await.max(near) {
                    highest if *id <= highest + 1 => Ok(*id),
                    highest => Err(out_of_range(field, *id, highest)),
                }
            }
            At::Time(time) => {
                let at_ms = timestamp::to_ms(time).ok_or_else(|| not_a_time(&format!("{field}.time")))?;
                self.at_time(topic, at_ms, deadline).await
            }
        }
    }

    /// The first ID that was ordered at this time or later; where all were ordered before, the next one.
    pub(crate) async fn at_time(&self, topic: TopicId, at_ms: u64, deadline: Instant) -> Result<u64, Status> {
        self.stores.first_at(topic, at_ms, deadline).await
    }

    /// Of a topic that was created just now.
    pub(crate) fn of_new(at: &At, field: &str) -> Result<u64, Status> {
        match at {
            At::MessageId(id) if *id > 1 => Err(out_of_range(field, *id, 0)),
            _ => Ok(1),
        }
    }
}

pub(crate) fn not_a_time(field: &str) -> Status {
    status::invalid(field, "is before 1970, or no time")
}

fn out_of_range(field: &str, id: u64, highest: u64) -> Status {
    Status::out_of_range(format!(
        "{field}.message_id is {id}, the highest message that can be read is {highest}: at most {} is allowed",
        highest + 1
    ))
}
