//! A group's state, written by its state machine and read by everyone else. A leaf: sections are short and no one
//! waits inside.

use std::sync::{Arc, PoisonError, RwLock};

use trunkline_ordering::group::State;

#[derive(Clone, Debug)]
pub(crate) struct SharedState(Arc<RwLock<State>>);

impl SharedState {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(RwLock::new(state)))
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}
