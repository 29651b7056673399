//! [`Process`](trunkline_ports::Process) on tokio and the operating system.

use std::fmt;
use std::future::Future as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use rand::Rng as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_ports::{Process, ProcessPort};

/// One node's tasks within an operating system process. [`OsProcess::kill`] ends them all, as `trunkline stop` does
/// in `dev`, where one operating system process runs every node.
#[derive(Clone)]
pub struct OsProcess {
    killed: CancellationToken,
    tasks: TaskTracker,
    on_failure: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for OsProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsProcess")
    }
}

impl OsProcess {
    /// `on_failure` is told why the process must not go on, and ends it.
    pub fn new(on_failure: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { killed: CancellationToken::new(), tasks: TaskTracker::new(), on_failure: Arc::new(on_failure) }
    }

    pub fn process(&self) -> Process {
        Process::new(self.clone())
    }

    /// Drops every task where it stands, and waits until they are gone.
    pub async fn kill(&self) {
        self.killed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl ProcessPort for OsProcess {
    #[allow(clippy::disallowed_methods, reason = "this is the replacement")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> JoinHandle<()> {
        let killed = self.killed.clone();
        let guarded = async move {
            let mut task = task;
            let mut killed = std::pin::pin!(killed.cancelled());
            std::future::poll_fn(|context| {
                if killed.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(());
                }
                task.as_mut().poll(context)
            })
            .await;
        };
        tokio::spawn(self.tasks.track_future(guarded))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the replacement")]
    fn wall_clock_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        rand::rng().next_u64()
    }

    fn fail(&self, why: &str) {
        (self.on_failure)(why);
    }
}
