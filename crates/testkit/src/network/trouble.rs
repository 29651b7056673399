//! Links that work badly: slow ones, and such that lose messages.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cuts::{Place, Side};

type Directed<T> = BTreeMap<(Side, Side), T>;

/// What is wrong with links, by direction.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    slow: Directed<Duration>,
    loss: Directed<u64>,
}

impl Trouble {
    pub(crate) fn slow(&mut self, from: &Side, to: &Side, extra: Duration) {
        self.slow.insert((from.clone(), to.clone()), extra);
    }

    pub(crate) fn lose(&mut self, from: &Side, to: &Side, one_in: u64) {
        self.loss.insert((from.clone(), to.clone()), one_in.max(1));
    }

    pub(crate) fn heal(&mut self, which: impl Fn(&Side, &Side) -> bool) {
        self.slow.retain(|(from, to), _| !which(from, to));
        self.loss.retain(|(from, to), _| !which(from, to));
    }

    /// How much longer a message takes from `from` to `to`.
    pub(crate) fn delay(&self, from: &Place, to: &Place) -> Duration {
        of(&self.slow, from, to).max().unwrap_or_default()
    }

    /// One message in how many is lost; `None` where none is.
    pub(crate) fn one_in(&self, from: &Place, to: &Place) -> Option<u64> {
        of(&self.loss, from, to).min()
    }
}

fn of<T: Copy>(directed: &Directed<T>, from: &Place, to: &Place) -> impl Iterator<Item = T> {
    directed.iter().filter(|((a, b), _)| Side::join(a, b, from, to)).map(|(_, value)| *value)
}
