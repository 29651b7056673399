//! Delays between attempts.

use std::time::Duration;

use trunkline_ports::Process;

/// Between half of and the whole exponential step.
pub(crate) fn backoff(process: &Process, first: Duration, max: Duration, attempts: u32) -> Duration {
    let step = first.saturating_mul(1 << attempts.min(10)).min(max);
    let half = u64::try_from(step.as_micros() / 2).unwrap_or(u64::MAX).max(1);
    step / 2 + Duration::from_micros(process.random() % half)
}
