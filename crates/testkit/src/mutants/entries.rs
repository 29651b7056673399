//! Broken ways to propose and to apply what orders messages.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_ordering::group::{Entry, LogReference, Shape, State};
use trunkline_ports::{
    Committed, Consensus, ConsensusError, Group, Host, Leadership, Process, ProposeError, StateMachine,
};
use trunkline_types::{GroupId, NodeId};

use super::duplicates::Dedupe;

/// Entries that a new leader remembers from before.
const REMEMBERED: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaks {
    /// A new leader proposes again what it remembers, and what is already ordered is not skipped.
    AppliesAsWritten,
    /// Facts are forgotten as soon as they are applied, whoever has them.
    ForgetsFacts,
    /// Order time is what the leader's own clock shows.
    OwnClock,
    /// Duplicates are told in another way.
    Duplicates(Dedupe),
}

/// Groups of which those that order messages are broken.
pub(super) struct BrokenConsensus {
    inner: Arc<dyn Consensus>,
    breaks: Breaks,
    host: Host,
}

impl BrokenConsensus {
    pub(super) fn new(inner: Arc<dyn Consensus>, breaks: Breaks, host: Host) -> Self {
        Self { inner, breaks, host }
    }
}

#[derive(Default)]
struct Seen {
    applied: AtomicU64,
    last: Mutex<VecDeque<Bytes>>,
}

impl Seen {
    fn last(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consensus for BrokenConsensus {
    fn start(
        &self,
        group: GroupId,
        machine: Box<dyn StateMachine>,
    ) -> BoxFuture<'static, Result<Arc<dyn Group>, ConsensusError>> {
        if group != GroupId::ordering(group.number) {
            return self.inner.start(group, machine);
        }
        let map = self.host.map();
        let shape = Shape { group: group.number, groups: map.ordering_groups, buckets: map.buckets };
        let (breaks, seen) = (self.breaks, Arc::new(Seen::default()));
        let machine =
            BrokenMachine { inner: machine, breaks, shape, state: State::new(shape), seen: seen.clone() };
        let starting = self.inner.start(group, Box::new(machine));
        let process = self.host.process.clone();
        async move {
            let group = starting.await?;
            if breaks == Breaks::AppliesAsWritten {
                process.spawn("old memory", proposes_again(group.clone(), seen.clone()));
            }
            Ok(Arc::new(BrokenGroup { inner: group, breaks, seen, process }) as Arc<dyn Group>)
        }
        .boxed()
    }

    fn hand_over(&self) -> BoxFuture<'static, ()> {
        self.inner.hand_over()
    }
}

/// With each leadership, what this voter saw before it.
async fn proposes_again(group: Arc<dyn Group>, seen: Arc<Seen>) {
    let mut leadership = group.leadership();
    let mut led = 0;
    loop {
        let Leadership { term, is_here, .. } = *leadership.borrow_and_update();
        if is_here && term != led {
            led = term;
            let remembered: Vec<Bytes> = seen.last().iter().cloned().collect();
            for entry in remembered {
                let _ = group.propose(entry, Instant::now() + PATIENCE).await;
            }
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

struct BrokenMachine {
    inner: Box<dyn StateMachine>,
    breaks: Breaks,
    shape: Shape,
    /// What the same entries have made here: how far each log is.
    state: State,
    seen: Arc<Seen>,
}

impl BrokenMachine {
    /// The entry so that nothing of it is skipped.
    fn as_written(&self, mut entry: Entry) -> Entry {
        if let Entry::Assign(assignment) = &mut entry {
            for part in &mut assignment.logs {
                let open = match &part.log {
                    LogReference::Number(number) => self.state.logs().get(*number),
                    LogReference::Name { name, .. } => self.state.logs().named(name),
                };
                part.from = open.map_or(part.from, |log| log.ordered.max(part.from));
            }
        }
        entry
    }
}

impl StateMachine for BrokenMachine {
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes {
        self.seen.applied.store(index, Ordering::Relaxed);
        let Ok(written) = Entry::decode(entry) else { return self.inner.apply(index, entry) };
        if let Breaks::Duplicates(dedupe) = self.breaks {
            let changed = dedupe.changed(index, written, &self.state);
            self.state.apply(index, &changed);
            return self.inner.apply(index, &changed.encode());
        }
        if self.breaks != Breaks::AppliesAsWritten {
            return self.inner.apply(index, entry);
        }
        if matches!(written, Entry::Assign(_)) {
            let mut last = self.seen.last();
            last.push_back(Bytes::copy_from_slice(entry));
            if last.len() > REMEMBERED {
                last.pop_front();
            }
        }
        let written = self.as_written(written);
        self.state.apply(index, &written);
        self.inner.apply(index, &written.encode())
    }

    fn applied(&mut self, index: u64) {
        self.inner.applied(index);
    }

    fn snapshot(&self) -> Bytes {
        self.inner.snapshot()
    }

    fn restore(&mut self, index: u64, snapshot: &[u8]) -> Result<(), String> {
        self.state = State::restore(self.shape, snapshot).map_err(|error| error.to_string())?;
        self.inner.restore(index, snapshot)
    }
}

struct BrokenGroup {
    inner: Arc<dyn Group>,
    breaks: Breaks,
    seen: Arc<Seen>,
    process: Process,
}

impl fmt::Debug for BrokenGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokenGroup")
    }
}

impl Group for BrokenGroup {
    fn id(&self) -> GroupId {
        self.inner.id()
    }

    fn propose(
        &self,
        entry: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Committed, ProposeError>> {
        let entry = match (self.breaks, Entry::decode(&entry)) {
            (Breaks::ForgetsFacts, Ok(Entry::Assign(mut assignment))) => {
                assignment.facts_trim = self.seen.applied.load(Ordering::Relaxed);
                Entry::Assign(assignment).encode().into()
            }
            (Breaks::OwnClock, Ok(Entry::Assign(mut assignment))) => {
                assignment.order_time_ms = self.process.wall_clock_ms();
                Entry::Assign(assignment).encode().into()
            }
            (Breaks::OwnClock, Ok(Entry::Trim(mut trim))) => {
                trim.order_time_ms = self.process.wall_clock_ms();
                Entry::Trim(trim).encode().into()
            }
            _ => entry,
        };
        self.inner.propose(entry, deadline)
    }

    fn confirm(&self, deadline: Instant) -> BoxFuture<'static, Result<u64, ProposeError>> {
        self.inner.confirm(deadline)
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.inner.applied()
    }

    fn transfer(&self, to: NodeId) {
        self.inner.transfer(to);
    }

    fn voters(&self) -> Vec<NodeId> {
        self.inner.voters()
    }
}
