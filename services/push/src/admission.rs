//! The door: how much is under way at once, and that nothing new comes in while the server ends.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use trunkline_runtime::Shutdown;
use trunkline_wire::Status;

use crate::error;
use crate::options::Options;

/// Counts bytes and messages before anything is queued.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    bytes: Arc<Semaphore>,
    messages: Arc<Semaphore>,
    calls: TaskTracker,
    shutdown: Shutdown,
}

/// Room for the messages of one request; given back when the last of them is done with.
#[derive(Debug)]
pub(crate) struct Room {
    _bytes: OwnedSemaphorePermit,
    _messages: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(options: &Options, shutdown: Shutdown) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(options.inflight_bytes_max.as_usize())),
            messages: Arc::new(Semaphore::new(options.inflight_messages_max)),
            calls: TaskTracker::new(),
            shutdown,
        }
    }

    /// A call begins; draining waits until the token is dropped.
    pub(crate) fn enter(&self) -> Result<TaskTrackerToken, Status> {
        if self.shutdown.is_draining() {
            return Err(error::draining());
        }
        Ok(self.calls.token())
    }

    /// Takes room at once or refuses.
    pub(crate) fn take(&self, messages: usize, bytes: usize) -> Result<Arc<Room>, Status> {
        let full = || error::too_much_under_way("messages");
        let messages = self.messages.clone().try_acquire_many_owned(count(messages)).map_err(|_| full())?;
        let bytes = self.bytes.clone().try_acquire_many_owned(count(bytes)).map_err(|_| full())?;
        Ok(Arc::new(Room { _bytes: bytes, _messages: messages }))
    }

    /// Waits for room: what a stream does, so that it slows its sender down.
    pub(crate) async fn wait(
        &self,
        messages: usize,
        bytes: usize,
        until: Instant,
    ) -> Result<Arc<Room>, Status> {
        let taking = async {
            let messages = self.messages.clone().acquire_many_owned(count(messages)).await;
            let bytes = self.bytes.clone().acquire_many_owned(count(bytes)).await;
            (messages.expect("never closed"), bytes.expect("never closed"))
        };
        let (messages, bytes) =
            timeout_at(until, taking).await.map_err(|_| error::too_much_under_way("messages"))?;
        Ok(Arc::new(Room { _bytes: bytes, _messages: messages }))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shutdown.is_draining()
    }

    /// Ends when draining begins.
    pub(crate) async fn draining(&self) {
        self.shutdown.draining().await;
    }

    /// Ends when every call that entered is over.
    pub(crate) async fn left(&self) {
        self.calls.close();
        self.calls.wait().await;
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
