//! [`Process`](trunkline_ports::Process) on tokio and the operating system.

use std::fmt;
use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
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
    killed: Killed,
    tasks: TaskTracker,
    on_failure: Arc<dyn Fn(&str) + Send + Sync>,
    on_refusal: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The flag is what each poll looks at; the token only wakes, once.
#[derive(Clone, Debug, Default)]
struct Killed {
    flag: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Killed {
    fn now(&self) {
        self.flag.store(true, Ordering::Release);
        self.token.cancel();
    }
}

impl fmt::Debug for OsProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsProcess")
    }
}

impl OsProcess {
    /// `on_failure` is told why the process must not go on, and ends it.
    pub fn new(on_failure: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let on_failure = Arc::new(on_failure);
        let on_refusal = on_failure.clone();
        Self { killed: Killed::default(), tasks: TaskTracker::new(), on_failure, on_refusal }
    }

    /// The same with another end for what is no fault of the program. No task of this process is polled again by then.
    #[must_use]
    pub fn refusing(self, on_refusal: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { on_refusal: Arc::new(on_refusal), ..self }
    }

    pub fn process(&self) -> Process {
        Process::new(self.clone())
    }

    /// Drops every task where it stands, and waits until they are gone.
    pub async fn kill(&self) {
        self.killed.now();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl ProcessPort for OsProcess {
    #[allow(clippy::disallowed_methods, reason = "this is the replacement")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> JoinHandle<()> {
        let Killed { flag, token } = self.killed.clone();
        let guarded = async move {
            let mut task = task;
            let mut killed = std::pin::pin!(token.cancelled());
            let mut is_registered = false;
            std::future::poll_fn(|context| {
                // A task keeps its waker for life, so it registers once: to do so takes a lock that all tasks share.
                let is_new = !std::mem::replace(&mut is_registered, true);
                if flag.load(Ordering::Acquire) || (is_new && killed.as_mut().poll(context).is_ready()) {
                    return Poll::Ready(());
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

    fn refuse(&self, why: &str) {
        self.killed.now();
        (self.on_refusal)(why);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Says that its task is gone.
    struct Held(Option<oneshot::Sender<()>>);

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.0.take().map(|gone| gone.send(()));
        }
    }

    #[tokio::test]
    async fn kill_drops_tasks_whether_they_wait_run_or_are_yet_to_begin() {
        let os = OsProcess::new(|_| ());
        let mut gone = Vec::new();
        for waits in [true, false] {
            let (told, ended) = oneshot::channel();
            let held = Held(Some(told));
            os.process().spawn("test", async move {
                let _held = held;
                if waits {
                    std::future::pending::<()>().await;
                }
                loop {
                    tokio::task::yield_now().await;
                }
            });
            gone.push(ended);
        }
        tokio::task::yield_now().await;
        os.kill().await;
        let (told, ended) = oneshot::channel();
        let held = Held(Some(told));
        os.process().spawn("test", async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        gone.push(ended);
        for ended in gone {
            ended.await.expect("dropped with its task");
        }
    }
}
