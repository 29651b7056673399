//! Ports that are free.

use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::RngExt as _;

/// Below the range that outgoing connections take theirs from.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_000;

/// The first of `count` ports that are all free.
///
/// # Panics
/// If a hundred attempts find none.
pub fn free(count: u16) -> u16 {
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..100 {
        let base = rand::rng().random_range(FIRST / 100..(LAST - count) / 100) * 100;
        if (base..base + count).all(is_free) {
            return base;
        }
    }
    panic!("there are no {count} free ports in a row");
}

/// Held by whoever runs a cluster: one at a time.
#[derive(Debug)]
pub struct Turn {
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    pub fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        Self { _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}
