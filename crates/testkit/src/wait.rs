//! Waiting for a value, with a deadline.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

const POLL: Duration = Duration::from_millis(50);

/// Asks until there is a value.
///
/// # Panics
/// Once `within` has passed, naming `what`.
pub async fn eventually<T>(within: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(value) = ask().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain for {what}", within.as_secs());
    }
}
