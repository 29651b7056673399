//! Times: whole milliseconds since 1970.

use prost_types::Timestamp;
use trunkline_types::limits::PEER_NUMBER_MAX;

/// Rounded down; `None` before 1970, and where it is no time that anyone can mean.
pub fn to_ms(at: &Timestamp) -> Option<u64> {
    let (seconds, nanos) = (u64::try_from(at.seconds).ok()?, u64::try_from(at.nanos).ok()?);
    let ms = seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)?;
    (nanos < 1_000_000_000 && ms <= PEER_NUMBER_MAX).then_some(ms)
}

pub fn from_ms(ms: u64) -> Timestamp {
    let nanos = (ms % 1_000) * 1_000_000;
    Timestamp {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos).expect("less than a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_survive_and_what_is_no_time_is_none() {
        for ms in [0, 999, 1_800_000_000_250, PEER_NUMBER_MAX] {
            assert_eq!(to_ms(&from_ms(ms)), Some(ms));
        }
        assert_eq!(to_ms(&Timestamp { seconds: 1, nanos: 999_999 }), Some(1_000));
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0), (1 << 39, 0)] {
            assert_eq!(to_ms(&Timestamp { seconds, nanos }), None, "{seconds} s {nanos} ns");
        }
    }
}
