//! All randomness of a simulation, from one seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_types::hash64;

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea and Flood, 2014). Clones draw from the same sequence; [`Random::fork`] begins another.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    state: Arc<AtomicU64>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { seed, state: Arc::new(AtomicU64::new(seed)) }
    }

    /// A sequence of its own, decided by this one's seed and `name` and by nothing that was drawn before.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        Self::new(self.seed ^ hash64(name.as_bytes()))
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`; 0 where `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.bits() % end }
    }

    /// True once in `n` times.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Any of them; `None` of none.
    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_forks_do_not_disturb_each_other() {
        let (a, b) = (Random::new(7), Random::new(7));
        let drawn: Vec<u64> = (0..4).map(|_| a.bits()).collect();
        assert_eq!(drawn, (0..4).map(|_| b.bits()).collect::<Vec<_>>());
        assert_eq!(a.fork("nyc").bits(), Random::new(7).fork("nyc").bits());
        assert_ne!(a.fork("nyc").bits(), a.fork("sea").bits());
    }
}
