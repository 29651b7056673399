//! A process: its tasks, its wall clock, its randomness, and its end.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::JoinHandle;

tokio::task_local! {
    static CURRENT: Process;
}

/// What stands behind a [`Process`]: the operating system, or the simulator.
pub trait ProcessPort: Send + Sync + 'static {
    /// Runs a task until it ends, is aborted, or the process ends.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> JoinHandle<()>;
    /// Milliseconds since 1970. May jump. Never decides anything about safety.
    fn wall_clock_ms(&self) -> u64;
    /// 64 random bits.
    fn random(&self) -> u64;
    /// Ends the process as a crash would: for what must not go on, such as a failed fsync.
    fn fail(&self, why: &str);
    /// Ends the process just as surely, but says so to people: for what is no fault of the program, such as a data
    /// directory that was copied or holds the format of another version.
    fn refuse(&self, why: &str) {
        self.fail(why);
    }
}

/// A cheap handle on the process that the caller runs in.
#[derive(Clone)]
pub struct Process(Arc<dyn ProcessPort>);

impl Process {
    pub fn new(port: impl ProcessPort) -> Self {
        Self(Arc::new(port))
    }

    /// The process of the task that calls, for libraries that spawn through a static function (openraft).
    /// `None` outside every task that was spawned through a [`Process`].
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(self.0.spawn(name, Box::pin(CURRENT.scope(self.clone(), task))))
    }

    /// Milliseconds since 1970, for people and for order time's proposals.
    pub fn wall_clock_ms(&self) -> u64 {
        self.0.wall_clock_ms()
    }

    pub fn random(&self) -> u64 {
        self.0.random()
    }

    /// Ends the process as a crash would.
    pub fn fail(&self, why: &str) {
        self.0.fail(why);
    }

    /// Ends the process for what is no fault of the program.
    pub fn refuse(&self, why: &str) {
        self.0.refuse(why);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

/// A spawned task. Dropping it leaves the task running; [`Task::abort_on_drop`] does not.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    pub fn abort(&self) {
        self.0.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for its end, however it came.
    pub async fn ended(self) {
        let _ = self.0.await;
    }

    /// A guard that ends the task with its owner.
    pub fn abort_on_drop(self) -> TaskGuard {
        TaskGuard(self)
    }
}

/// Aborts its task when dropped.
#[derive(Debug)]
pub struct TaskGuard(Task);

impl TaskGuard {
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
