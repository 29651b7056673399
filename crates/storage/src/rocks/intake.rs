//! What waits for the writer, in call order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use trunkline_ports::storage::Change;
use trunkline_ports::{Batch, StorageError};

/// A key's or value's own cost beside its bytes.
const CHANGE_BYTES: usize = 32;

/// One `write`: its batch, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    pub(super) done: oneshot::Sender<Result<(), StorageError>>,
}

pub(super) enum Taken {
    /// All that waited, up to the bound; at least one.
    Group(Vec<Job>),
    /// Nothing came for a while.
    Nothing,
    /// Closed, and everything has been taken.
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The store was closed or has failed.
    Shut,
    /// More waits than the disk can be behind: see [`trunkline_types::limits::STORAGE_QUEUE_BYTES_MAX`].
    Overrun,
}

/// The queue between `write` and the writer.
///
/// A call must be queued when it is made, for its order, and it must not wait, for it is not async: so nobody waits
/// *here*. Who calls waits for the answer instead, and bounds what it has under way by that (a coordinator counts the
/// bytes of its appends, Raft awaits each append). The bound here is the last one, for an owner that forgot its own:
/// beyond it the store fails, because to refuse one batch and take the next would break the order that is promised.
#[derive(Debug)]
pub(super) struct Intake {
    bytes_max: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    bytes: usize,
    shut: bool,
}

impl Intake {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default(), arrived: Condvar::new() }
    }

    pub(super) fn put(&self, batch: Batch) -> Result<oneshot::Receiver<Result<(), StorageError>>, Refused> {
        let (done, answer) = oneshot::channel();
        let bytes = size(&batch);
        let mut state = self.lock();
        if state.shut {
            return Err(Refused::Shut);
        }
        if state.bytes + bytes > self.bytes_max && !state.waiting.is_empty() {
            return Err(Refused::Overrun);
        }
        state.bytes += bytes;
        state.waiting.push_back(Job { batch, bytes, done });
        drop(state);
        self.arrived.notify_one();
        Ok(answer)
    }

    /// Waits until something is there, for at most `patience`.
    pub(super) fn take(&self, bytes_max: usize, patience: Duration) -> Taken {
        let state = self.lock();
        let (mut state, _) = self
            .arrived
            .wait_timeout_while(state, patience, |state| state.waiting.is_empty() && !state.shut)
            .unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            return if state.shut { Taken::End } else { Taken::Nothing };
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(job) = state.waiting.front() {
            if !group.is_empty() && bytes + job.bytes > bytes_max {
                break;
            }
            bytes += job.bytes;
            group.extend(state.waiting.pop_front());
        }
        state.bytes -= bytes;
        Taken::Group(group)
    }

    /// Nothing more comes in; what waits can still be taken.
    pub(super) fn shut(&self) {
        self.lock().shut = true;
        self.arrived.notify_all();
    }

    /// Nothing more comes in, and what waits is given back.
    pub(super) fn abandon(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.shut = true;
        state.bytes = 0;
        let jobs = state.waiting.drain(..).collect();
        drop(state);
        self.arrived.notify_all();
        jobs
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a batch takes of the log, nearly.
fn size(batch: &Batch) -> usize {
    let changes = batch.changes.iter().map(|change| match change {
        Change::Put(_, key, value) => key.len() + value.len(),
        Change::Delete(_, key) => key.len(),
        Change::DeleteRange(_, from, to) => from.len() + to.len(),
    });
    changes.map(|bytes| bytes + CHANGE_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_ports::Space;

    const SPACE: Space = Space::new("space");
    const NOW: Duration = Duration::ZERO;

    fn batch(key: &'static str, bytes: usize) -> Batch {
        let mut batch = Batch::new();
        batch.put(SPACE, key, vec![0; bytes]);
        batch
    }

    fn keys(taken: Taken) -> Vec<Batch> {
        match taken {
            Taken::Group(jobs) => jobs.into_iter().map(|job| job.batch).collect(),
            Taken::Nothing | Taken::End => Vec::new(),
        }
    }

    #[test]
    fn a_group_is_all_that_waits_in_call_order() {
        let intake = Intake::new(usize::MAX);
        let batches = [batch("b", 1), batch("a", 1), batch("c", 1)];
        let _answers: Vec<_> = batches.iter().map(|batch| intake.put(batch.clone()).unwrap()).collect();
        assert_eq!(keys(intake.take(usize::MAX, NOW)), batches);
        assert!(matches!(intake.take(usize::MAX, NOW), Taken::Nothing));
        assert_eq!(intake.bytes(), 0);
    }

    #[test]
    fn a_group_ends_at_its_bound_but_a_larger_batch_goes_alone() {
        let intake = Intake::new(usize::MAX);
        let batches = [batch("a", 5_000), batch("b", 100), batch("c", 100), batch("d", 900)];
        let _answers: Vec<_> = batches.iter().map(|batch| intake.put(batch.clone()).unwrap()).collect();
        assert_eq!(keys(intake.take(1_000, NOW)), batches[..1]);
        assert_eq!(keys(intake.take(1_000, NOW)), batches[1..3]);
        assert_eq!(keys(intake.take(1_000, NOW)), batches[3..]);
    }

    #[test]
    fn a_shut_intake_takes_nothing_and_still_gives_what_waits() {
        let intake = Intake::new(usize::MAX);
        let _answer = intake.put(batch("a", 1)).unwrap();
        intake.shut();
        assert_eq!(intake.put(batch("b", 1)).unwrap_err(), Refused::Shut);
        assert_eq!(keys(intake.take(usize::MAX, NOW)), [batch("a", 1)]);
        assert!(matches!(intake.take(usize::MAX, NOW), Taken::End));
    }

    #[test]
    fn more_than_the_bound_is_an_overrun_unless_it_would_be_alone() {
        let intake = Intake::new(100);
        let _answer = intake.put(batch("a", 500)).unwrap();
        assert_eq!(intake.put(batch("b", 1)).unwrap_err(), Refused::Overrun);
        assert_eq!(keys(intake.take(usize::MAX, NOW)), [batch("a", 500)]);
        assert!(intake.put(batch("b", 1)).is_ok());
    }
}
