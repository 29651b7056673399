//! [`Positions`] as a group's state machine, readable from outside.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use trunkline_delivery::position::{Entry, Positions, snapshot};
use trunkline_ports::{Process, StateMachine};

/// One group's state: written by its machine only, read by whoever answers calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct State(Arc<Mutex<Positions>>);

impl State {
    pub(crate) fn read(&self) -> MutexGuard<'_, Positions> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

pub(crate) struct Machine {
    state: State,
    process: Process,
    subscriptions: Gauge,
}

impl Machine {
    pub(crate) fn new(state: State, process: Process, subscriptions: Gauge) -> Self {
        Self { state, process, subscriptions }
    }

    fn change(&self, change: impl FnOnce(&mut Positions) -> Bytes) -> Bytes {
        let mut positions = self.state.read();
        let before = positions.len();
        let answer = change(&mut positions);
        let difference =
            i64::try_from(positions.len()).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(0);
        self.subscriptions.inc_by(difference);
        answer
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes {
        match Entry::decode(entry) {
            Ok(entry) => self.change(|positions| positions.apply(index, entry).encode().into()),
            Err(unreadable) => {
                // To skip it would be another state than the other voters have.
                self.process.refuse(&unreadable.to_string());
                Bytes::new()
            }
        }
    }

    fn snapshot(&self) -> Bytes {
        snapshot::encode(&self.state.read()).into()
    }

    fn restore(&mut self, _index: u64, bytes: &[u8]) -> Result<(), String> {
        let mut outcome = Ok(());
        self.change(|positions| {
            outcome = snapshot::restore(positions, bytes).map_err(|unreadable| unreadable.to_string());
            Bytes::new()
        });
        outcome
    }
}
