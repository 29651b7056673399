//! openraft's tasks in the node's process, its randomness from the process: what makes a run repeatable.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime, TokioWatch};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use trunkline_ports::Process;

/// tokio's everything, except for who runs a task and who draws a number.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

/// A task's end without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskEnded {
    Panicked,
    /// With its process.
    Dropped,
}

impl fmt::Display for TaskEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panicked => "the task panicked",
            Self::Dropped => "the task ended with its process",
        })
    }
}

/// Resolves with what a task returned.
#[derive(Debug)]
pub(crate) struct RaftTask<T>(oneshot::Receiver<Result<T, TaskEnded>>);

impl<T> Future for RaftTask<T> {
    type Output = Result<T, TaskEnded>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|ended| ended.unwrap_or(Err(TaskEnded::Dropped)))
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = TaskEnded;
    type JoinHandle<T: OptionalSend + 'static> = RaftTask<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = StdRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let task = async move {
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(output) => drop(sender.send(Ok(output))),
                Err(panic) => {
                    drop(sender.send(Err(TaskEnded::Panicked)));
                    std::panic::resume_unwind(panic);
                }
            }
        };
        match Process::current() {
            Some(process) => drop(process.spawn("raft", task)),
            // Every way into openraft goes through a task of the process; only its own test suite comes here.
            None => drop(TokioRuntime::spawn(task)),
        }
        RaftTask(receiver)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        *error == TaskEnded::Panicked
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        StdRng::seed_from_u64(Process::current().map_or(0, |process| process.random()))
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
