//! What every call of the service works with.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use trunkline_ports::Host;
use trunkline_types::checksum;
use trunkline_types::limits::{DEADLINE_MARGIN, DEADLINE_MAX};
use trunkline_wire::Message as _;
use trunkline_wire::internal::{ChunkedPayload, RecordBody};
use trunkline_wire::v1::Message;

use crate::admission::Admission;
use crate::coordinator::Coordinators;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::progress::Outcome;
use crate::replicas;
use crate::topics::{Topics, Voters};
use trunkline_types::Receipt;
use trunkline_wire::v1::AckLevel;

/// Records that are asked for by receipt at the same time.
const FOLLOWED_MAX: usize = 256;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) host: Host,
    pub(crate) topics: Topics,
    pub(crate) voters: Voters,
    pub(crate) coordinators: Coordinators,
    pub(crate) admission: Admission,
    pub(crate) metrics: Metrics,
    pub(crate) options: Arc<Options>,
    followed: Arc<Semaphore>,
}

/// A message as stores will keep it.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) checksum: u64,
    pub(crate) body: Bytes,
}

impl Server {
    pub(crate) fn new(
        host: Host,
        admission: Admission,
        coordinators: Coordinators,
        metrics: Metrics,
        options: Options,
    ) -> Self {
        let voters = Voters::new(&host);
        let topics = Topics::new(&host, voters.clone(), &options);
        let followed = Arc::new(Semaphore::new(FOLLOWED_MAX));
        Self { host, topics, voters, coordinators, admission, metrics, options: Arc::new(options), followed }
    }

    /// Encoded once; the checksum is checked by everyone up to the pop server.
    pub(crate) fn encode(&self, message: Message, push_time_ms: u64) -> Encoded {
        let Message { payload, key, attributes } = message;
        encoded(&RecordBody { payload, key, attributes, push_time_ms, large: None })
    }

    /// The same of a message whose payload is in chunks at its coordinator.
    pub(crate) fn encode_large(
        &self,
        message: Message,
        payload: ChunkedPayload,
        push_time_ms: u64,
    ) -> Encoded {
        let Message { key, attributes, .. } = message;
        encoded(&RecordBody { payload: Bytes::new(), key, attributes, push_time_ms, large: Some(payload) })
    }

    /// Asks replicas for a stored record whose coordinator is gone.
    pub(crate) async fn follow(
        &self,
        receipt: Receipt,
        level: AckLevel,
        deadline: Instant,
    ) -> Option<Vec<Outcome>> {
        let _turn = self.followed.acquire().await.expect("never closed");
        replicas::follow(&self.host, &receipt, level, deadline).await
    }
}

fn encoded(body: &RecordBody) -> Encoded {
    let body = Bytes::from(body.encode_to_vec());
    Encoded { checksum: checksum(&body), body }
}

/// The caller's deadline within bounds.
pub(crate) fn bounded(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + DEADLINE_MAX)
}

/// When to answer at the latest, so that the answer still arrives.
pub(crate) fn answer_by(deadline: Instant) -> Instant {
    let deadline = bounded(deadline);
    deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(deadline)
}
