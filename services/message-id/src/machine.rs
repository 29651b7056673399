//! The ordering state machine as consensus drives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::watch;
use trunkline_ordering::group::{Answer, Entry, Shape, State};
use trunkline_ports::{Process, StateMachine};

use crate::metrics::Figures;
use crate::shared_state::SharedState;

/// What others see of a machine that consensus owns.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: SharedState,
    /// The last index applied; what it brought is in `state` by then.
    pub(crate) applied: watch::Receiver<u64>,
    /// This node's wall clock when something was last applied, in milliseconds since 1970.
    pub(crate) applied_at_ms: Arc<AtomicU64>,
}

pub(crate) struct Machine {
    shape: Shape,
    state: SharedState,
    applied: watch::Sender<u64>,
    applied_at_ms: Arc<AtomicU64>,
    process: Process,
    figures: Figures,
}

impl Machine {
    pub(crate) fn new(shape: Shape, process: Process, figures: Figures) -> (Self, View) {
        let state = SharedState::new(State::new(shape));
        let (applied, watched) = watch::channel(0);
        let applied_at_ms = Arc::new(AtomicU64::new(0));
        let view = View { state: state.clone(), applied: watched, applied_at_ms: applied_at_ms.clone() };
        (Self { shape, state, applied, applied_at_ms, process, figures }, view)
    }

    fn tell(&self, index: u64) {
        self.applied_at_ms.store(self.process.wall_clock_ms(), Ordering::Relaxed);
        self.applied.send_replace(index);
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes {
        let entry = match Entry::decode(entry) {
            Ok(entry) => entry,
            Err(error) => {
                // Going on without it would make this voter's state another one's.
                self.process.refuse(&format!(
                    "entry {index} of ordering-{} cannot be applied: {error}",
                    self.shape.group
                ));
                return Bytes::new();
            }
        };
        let answer = self.state.write(|state| state.apply(index, &entry));
        if let Answer::Assigned { records } = answer {
            self.figures.records_ordered.inc_by(records);
        }
        Bytes::from(answer.encode())
    }

    fn applied(&mut self, index: u64) {
        self.state.write(|state| state.skip(index));
        self.tell(index);
    }

    fn snapshot(&self) -> Bytes {
        Bytes::from(self.state.read(State::snapshot))
    }

    fn restore(&mut self, index: u64, snapshot: &[u8]) -> Result<(), String> {
        let state = State::restore(self.shape, snapshot).map_err(|error| error.to_string())?;
        self.state.write(|old| {
            *old = state;
            old.skip(index);
        });
        self.tell(index);
        Ok(())
    }
}
