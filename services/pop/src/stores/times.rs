//! Which ID was ordered when: by the nearest store that knows the topic.

use tokio::time::Instant;
use trunkline_types::TopicId;
use trunkline_types::limits::SILENCE_MAX;
use trunkline_wire::Status;
use trunkline_wire::internal::store_service::FIND_TIME;
use trunkline_wire::internal::{StoreFindTimeRequest, StoreFindTimeResponse};

use super::{ReadError, Stores};
use crate::error;

impl Stores {
    /// The first ID that was ordered at this time or later; the next one where all were ordered before, as far as the
    /// store that is asked has the facts.
    pub(crate) async fn first_at(
        &self,
        topic: TopicId,
        at_ms: u64,
        deadline: Instant,
    ) -> Result<u64, Status> {
        // 0 is not to be asked for, and nothing was ordered then.
        Ok(self.find_time(topic, at_ms.max(1), 0, deadline).await?.first_id.max(1))
    }

    /// When an ID was ordered; `None` where nobody who knows answers.
    pub(crate) async fn order_time(&self, topic: TopicId, id: u64, deadline: Instant) -> Option<u64> {
        let found = self.find_time(topic, 0, id, deadline).await.ok()?;
        (found.order_time_ms > 0).then_some(found.order_time_ms)
    }

    async fn find_time(
        &self,
        topic: TopicId,
        at_ms: u64,
        id: u64,
        deadline: Instant,
    ) -> Result<StoreFindTimeResponse, Status> {
        let candidates = self.nearest.stores(topic.bucket());
        let envelope = Some(self.nearest.host().envelope());
        let request = StoreFindTimeRequest { envelope, topic_id: topic.0, at_ms, id };
        let mut young = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let one = std::slice::from_ref(candidate);
            let is_last = index + 1 == candidates.len();
            let until = if is_last { deadline } else { deadline.min(Instant::now() + SILENCE_MAX) };
            match self.nearest.ask(one, FIND_TIME, &request, until).await {
                Ok(found) if found.topic_deleted => return Err(ReadError::Deleted.into()),
                Ok(found) if found.unknown_topic => young = Some(found),
                Ok(found) if id > 0 && found.order_time_ms == 0 => young = Some(found),
                Ok(found) => return Ok(found),
                Err(error) if error::is_of_the_way(&error) && !is_last => {}
                Err(error) => return young.ok_or(error),
            }
        }
        young.ok_or_else(|| error::out_of_time("no store of the topic could be asked"))
    }
}
