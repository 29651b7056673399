//! A simulated process: tasks behind a gate, a wall clock that jumps, randomness from a seed, and an end.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use trunkline_ports::{Process, ProcessPort};

use crate::random::Random;

/// Where all simulated wall clocks begin: 2027-01-15T08:00:00Z.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

thread_local! {
    /// The process whose task is polled now.
    static POLLED: RefCell<Option<Arc<Inner>>> = const { RefCell::new(None) };
    /// Tasks of this thread's processes that have panicked.
    static PANICKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Which tasks of this thread's processes have panicked since the last call, and why. tokio could end the runtime by
/// itself, but drops all tasks at a point where theirs may not wake others; so whoever drives the simulation asks.
pub fn panicked() -> Vec<String> {
    PANICKED.with(RefCell::take)
}

/// The name of the process whose task runs now; `None` outside of every process. For whoever listens to what services
/// log.
pub fn running() -> Option<String> {
    POLLED.with(|polled| polled.borrow().as_ref().map(|process| process.name.clone()))
}

/// One start of one node. A crash ends it for good; the node's next start is another `SimulatedProcess`.
#[derive(Clone)]
pub struct SimulatedProcess(Arc<Inner>);

struct Inner {
    name: String,
    random: Random,
    origin: Instant,
    /// These two are looked at whenever a task is polled; they change under the lock of `state`.
    alive: AtomicBool,
    paused: AtomicBool,
    state: Mutex<State>,
    ended: watch::Sender<Option<String>>,
}

struct State {
    clock_offset_ms: i64,
    next_task: u64,
    tasks: BTreeMap<u64, TaskEntry>,
    waiting_for_resume: BTreeMap<u64, Waker>,
    on_end: Vec<Box<dyn FnOnce() + Send>>,
}

struct TaskEntry {
    slot: Arc<Slot>,
    abort: Option<AbortHandle>,
}

/// Holds a task's future where a crash can reach it, so that tasks are dropped in the order they were spawned.
struct Slot {
    name: &'static str,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl SimulatedProcess {
    /// A process whose wall clock has stood at [`EPOCH_MS`] at `origin`.
    pub fn new(name: impl Into<String>, random: Random, origin: Instant) -> Self {
        let state = State {
            clock_offset_ms: 0,
            next_task: 0,
            tasks: BTreeMap::new(),
            waiting_for_resume: BTreeMap::new(),
            on_end: Vec::new(),
        };
        let ended = watch::Sender::new(None);
        Self(Arc::new(Inner {
            name: name.into(),
            random,
            origin,
            alive: AtomicBool::new(true),
            paused: AtomicBool::new(false),
            state: Mutex::new(state),
            ended,
        }))
    }

    /// For a test of one service: no network, and a clock that begins now.
    pub fn alone(seed: u64) -> Self {
        Self::new("alone", Random::new(seed), Instant::now())
    }

    /// The handle that services take.
    pub fn process(&self) -> Process {
        Process::new(self.clone())
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether both are the same start of the same node.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Tasks stand still, as under SIGSTOP; what arrives waits for them.
    pub fn pause(&self) {
        let _state = self.0.state();
        self.0.paused.store(true, Ordering::Relaxed);
    }

    pub fn resume(&self) {
        let waiting = {
            let mut state = self.0.state();
            self.0.paused.store(false, Ordering::Relaxed);
            std::mem::take(&mut state.waiting_for_resume)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// Ends the process as kill -9 does: its tasks are dropped where they stand, oldest first.
    pub fn crash(&self) {
        self.0.end("crashed");
    }

    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Why the process ended; `None` while it lives.
    pub fn why_ended(&self) -> Option<String> {
        self.0.ended.borrow().clone()
    }

    /// Resolves with the reason when the process has ended.
    pub async fn ended(&self) -> String {
        let mut ended = self.0.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Run at the moment of the end, before its tasks are dropped: what belongs to the process and is not a task of
    /// it (a disk's cache, connections).
    pub fn on_end(&self, hook: impl FnOnce() + Send + 'static) {
        self.0.state().on_end.push(Box::new(hook));
    }

    /// From now on the wall clock is off by so much.
    pub fn set_clock_offset_ms(&self, offset_ms: i64) {
        self.0.state().clock_offset_ms = offset_ms;
    }

    /// Names of the tasks that run, oldest first.
    pub fn task_names(&self) -> Vec<&'static str> {
        self.0.state().tasks.values().map(|task| task.slot.name).collect()
    }
}

impl fmt::Debug for SimulatedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedProcess").field(&self.0.name).finish()
    }
}

impl Inner {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: &str) {
        let (hooks, tasks) = {
            let mut state = self.state();
            if !self.alive.swap(false, Ordering::Relaxed) {
                return;
            }
            state.waiting_for_resume.clear();
            (std::mem::take(&mut state.on_end), std::mem::take(&mut state.tasks))
        };
        hooks.into_iter().for_each(|hook| hook());
        for task in tasks.into_values() {
            // The task that runs now (and perhaps is what ends the process) drops itself when its poll returns.
            let future = task.slot.future.try_lock().ok().and_then(|mut slot| slot.take());
            drop(future);
            if let Some(abort) = task.abort {
                abort.abort();
            }
        }
        self.ended.send_replace(Some(why.to_owned()));
    }
}

impl Inner {
    fn panicked(&self, task: &str, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        let why = format!("task {task} panicked: {text}");
        PANICKED.with(|panicked| panicked.borrow_mut().push(format!("{}: {why}", self.name)));
        self.end(&why);
    }
}

impl ProcessPort for SimulatedProcess {
    #[allow(clippy::disallowed_methods, reason = "this is the replacement")]
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> JoinHandle<()> {
        let slot = Arc::new(Slot { name, future: Mutex::new(Some(task)) });
        let number = {
            let mut state = self.0.state();
            if !self.0.is_alive() {
                return tokio::spawn(std::future::ready(()));
            }
            state.next_task += 1;
            let number = state.next_task;
            state.tasks.insert(number, TaskEntry { slot: slot.clone(), abort: None });
            number
        };
        let handle = tokio::spawn(Gate { process: self.0.clone(), number, slot });
        if let Some(task) = self.0.state().tasks.get_mut(&number) {
            task.abort = Some(handle.abort_handle());
        }
        handle
    }

    fn wall_clock_ms(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.0.origin);
        let offset = self.0.state().clock_offset_ms;
        (EPOCH_MS + millis(elapsed)).saturating_add_signed(offset)
    }

    fn random(&self) -> u64 {
        self.0.random.bits()
    }

    fn fail(&self, why: &str) {
        tracing::debug!(process = %self.0.name, why, "the process ends itself");
        self.0.end(why);
    }
}

/// Milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the runtime polls: the task, unless the process is paused or dead.
struct Gate {
    process: Arc<Inner>,
    number: u64,
    slot: Arc<Slot>,
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.process.is_alive() {
            return Poll::Ready(());
        }
        if self.process.paused.load(Ordering::Relaxed) {
            let mut state = self.process.state();
            if self.process.paused.load(Ordering::Relaxed) {
                state.waiting_for_resume.insert(self.number, context.waker().clone());
                return Poll::Pending;
            }
        }
        let _polled = Polled::enter(&self.process);
        let mut slot = self.slot.future.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(future) = slot.as_mut() else { return Poll::Ready(()) };
        // A panic is a broken invariant: it ends the process.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context).is_ready()));
        let ended = polled.unwrap_or_else(|panic| {
            self.process.panicked(self.slot.name, panic.as_ref());
            true
        });
        if ended || !self.process.is_alive() {
            let future = slot.take();
            drop(slot);
            drop(future);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let entry = {
            let mut state = self.process.state();
            state.waiting_for_resume.remove(&self.number);
            state.tasks.remove(&self.number)
        };
        let future = self.slot.future.try_lock().ok().and_then(|mut slot| slot.take());
        drop((entry, future));
    }
}

/// While it lives, [`running`] names this process.
struct Polled {
    before: Option<Arc<Inner>>,
}

impl Polled {
    fn enter(process: &Arc<Inner>) -> Self {
        Self { before: POLLED.with(|polled| polled.replace(Some(process.clone()))) }
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        POLLED.with(|polled| polled.replace(self.before.take()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    struct OnDrop(Arc<Mutex<Vec<u32>>>, u32);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(self.1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_drops_tasks_in_the_order_they_were_spawned() {
        let process = SimulatedProcess::alone(1);
        let dropped = Arc::new(Mutex::new(Vec::new()));
        for number in 0..5 {
            let guard = OnDrop(dropped.clone(), number);
            process.process().spawn("forever", async move {
                std::future::pending::<()>().await;
                drop(guard);
            });
        }
        tokio::task::yield_now().await;
        process.crash();
        assert_eq!(*dropped.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(process.ended().await, "crashed");
        let late = process.process().spawn("late", async { panic!("runs in a dead process") });
        late.ended().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_process_stands_still_and_goes_on_after_it() {
        let process = SimulatedProcess::alone(1);
        let ticks = Arc::new(AtomicU32::new(0));
        let counter = ticks.clone();
        process.process().spawn("ticks", async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_millis(55)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), 5);
        process.pause();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), 5);
        process.resume();
        tokio::time::sleep(Duration::from_millis(15)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_may_end_its_own_process() {
        let process = SimulatedProcess::alone(1);
        let handle = process.process();
        let hooked = Arc::new(AtomicU32::new(0));
        let hook = hooked.clone();
        process.on_end(move || hook.store(1, Ordering::Relaxed));
        let inner = handle.clone();
        let task = handle.spawn("fails", async move {
            inner.fail("fsync failed");
            std::future::pending::<()>().await;
        });
        task.ended().await;
        assert_eq!(process.why_ended().as_deref(), Some("fsync failed"));
        assert_eq!(hooked.load(Ordering::Relaxed), 1);
        assert!(process.task_names().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wall_clock_follows_the_paused_clock_and_jumps() {
        let process = SimulatedProcess::alone(1);
        let start = process.wall_clock_ms();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(process.wall_clock_ms() - start, 3_000);
        process.set_clock_offset_ms(-10_000);
        assert_eq!(process.wall_clock_ms(), start - 7_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_finds_its_process() {
        let process = SimulatedProcess::alone(9);
        let expected = process.0.random.fork("x").bits();
        let (tell, told) = tokio::sync::oneshot::channel();
        process.process().spawn("asks", async move {
            let _ = tell.send((Process::current().is_some(), running()));
        });
        assert_eq!(told.await.unwrap(), (true, Some("alone".to_owned())));
        assert!(Process::current().is_none() && running().is_none());
        assert_eq!(expected, Random::new(9).fork("x").bits());
    }
}
