//! Between order time and IDs. A row says from which ID on messages of a topic were ordered at which time; there is one
//! wherever order time had moved since the message before, so what the rows say is exact.

use tokio::sync::oneshot;
use trunkline_ports::{ScanLimit, Storage, StorageError};
use trunkline_types::TopicId;
use trunkline_wire::Status;
use trunkline_wire::internal::{StoreFindTimeRequest, StoreFindTimeResponse};
use trunkline_wire::status::{self, reason};

use crate::handle::{Gone, Handle, Input};
use crate::worker::{Worker, load};
use crate::{cold, keys};

/// What is asked of a topic's times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimesAsked {
    pub(crate) topic: TopicId,
    /// When was it ordered?
    id: u64,
    /// All rows are needed, also those that are on their way to disk.
    all_rows: bool,
}

/// What the worker knows of a topic's times.
#[derive(Debug)]
pub(crate) struct TopicTimes {
    deleted: bool,
    /// By the facts that were taken.
    next: u64,
    /// Of the ID asked for, if it is one of the last.
    order_time_ms: Option<u64>,
    /// Resolves when the rows of all IDs below `next` are on disk.
    on_disk: Option<oneshot::Receiver<()>>,
}

impl Worker {
    /// `None`: the topic is not known here.
    pub(crate) fn times(&mut self, asked: TimesAsked) -> Result<Option<TopicTimes>, Status> {
        if self.copying.contains_key(&self.catalog.group_of(asked.topic.bucket())) {
            return Err(status::unavailable(reason::STALE, "the index is being copied here"));
        }
        let Some(topic) = self.catalog.topic(asked.topic) else { return Ok(None) };
        let (deleted, next) = (topic.deleted, topic.staged_next);
        let order_time_ms = topic.recent_order_time(asked.id);
        let on_disk = asked.all_rows.then(|| {
            let (told, on_disk) = oneshot::channel();
            self.commit.when_on_disk(told);
            on_disk
        });
        Ok(Some(TopicTimes { deleted, next, order_time_ms, on_disk }))
    }
}

/// Answers `FIND_TIME`.
pub(crate) async fn find(
    storage: &dyn Storage,
    handle: &Handle,
    request: &StoreFindTimeRequest,
) -> Result<StoreFindTimeResponse, Status> {
    let (topic, id, at_ms) = (TopicId(request.topic_id), request.id, request.at_ms);
    let asked = TimesAsked { topic, id, all_rows: at_ms > 0 };
    let mut response = StoreFindTimeResponse::default();
    let Some(times) = handle.ask(|reply| Input::Times { asked, reply }).await?? else {
        response.unknown_topic = true;
        return Ok(response);
    };
    response.topic_deleted = times.deleted;
    if times.deleted {
        return Ok(response);
    }
    response.first_id = times.next;
    if let Some(on_disk) = times.on_disk {
        on_disk.await.map_err(|_| Gone)?;
        let first = first_at(storage, topic, at_ms, times.next).await;
        response.first_id = first.map_err(|error| cold::failed(&error))?;
    }
    if (1..times.next).contains(&id) {
        let known = match times.order_time_ms {
            Some(ms) => Some(ms),
            None => row_of(storage, topic, id).await.map_err(|error| cold::failed(&error))?.map(|row| row.1),
        };
        response.order_time_ms = known.unwrap_or(0);
    }
    Ok(response)
}

/// The first ID that was ordered at `at_ms` or later, or `next`. Order time does not go back, so half of what is left is
/// out of question at each step.
async fn first_at(storage: &dyn Storage, topic: TopicId, at_ms: u64, next: u64) -> Result<u64, StorageError> {
    let (mut low, mut high) = (1, next.max(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match row_of(storage, topic, middle).await? {
            Some((first, ms)) if ms >= at_ms => high = first.max(low),
            // What has no row is older than all that has one.
            Some(_) | None => low = middle + 1,
        }
    }
    Ok(low)
}

/// The row that says when an ID was ordered: its first ID, and the time.
async fn row_of(storage: &dyn Storage, topic: TopicId, id: u64) -> Result<Option<(u64, u64)>, StorageError> {
    let (from, to) = (keys::id_key(topic, 0), keys::id_key(topic, id.saturating_add(1)));
    let rows = storage.scan_back(keys::TIMES, from, to, ScanLimit::rows(1)).await?;
    let row = |(key, value): &(bytes::Bytes, bytes::Bytes)| {
        let (_, first) = keys::id_of(key).ok_or_else(|| load::corrupt("times"))?;
        Ok((first, keys::time(value).ok_or_else(|| load::corrupt("times"))?))
    };
    rows.first().map(row).transpose()
}

#[cfg(test)]
mod tests {
    use trunkline_ports::Batch;
    use trunkline_testkit::MemoryStorage;
    use trunkline_types::Bucket;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_id_at_a_time_is_found_wherever_rows_begin_and_end() {
        let storage = MemoryStorage::new();
        let (topic, beside) = (TopicId::new(2, Bucket(0)), [1, 3].map(|n| TopicId::new(n, Bucket(0))));
        let mut batch = Batch::new();
        // Nothing says when 1 to 3 were ordered; 4 to 9 at 500, 10 to 99 at 700, from 100 on at 900.
        for (id, ms) in [(4, 500), (10, 700), (100, 900)] {
            batch.put(keys::TIMES, keys::id_key(topic, id), keys::time_value(ms));
            for other in beside {
                batch.put(keys::TIMES, keys::id_key(other, id - 1), keys::time_value(ms + 1));
            }
        }
        storage.write(batch).await.unwrap();
        let cases = [(1, 4), (499, 4), (500, 4), (501, 10), (700, 10), (701, 100), (900, 100), (901, 120)];
        for (at_ms, expected) in cases {
            assert_eq!(first_at(&storage, topic, at_ms, 120).await, Ok(expected), "{at_ms}");
        }
        assert_eq!(first_at(&storage, topic, 900, 50).await, Ok(50), "beyond what was asked for");
        assert_eq!(first_at(&storage, TopicId::new(9, Bucket(0)), 1, 7).await, Ok(7), "without any row");
        assert_eq!(first_at(&storage, TopicId::new(9, Bucket(0)), 1, 1).await, Ok(1), "without any message");
        for (id, expected) in [(3, None), (4, Some((4, 500))), (99, Some((10, 700))), (100, Some((100, 900)))]
        {
            assert_eq!(row_of(&storage, topic, id).await, Ok(expected), "{id}");
        }
    }
}
