//! The fixed list of runs.

use std::time::Duration;

use trunkline_client::api::AckLevel;

/// One run, on a cluster of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// For people.
    pub(super) what: &'static str,
    /// As `trunkline dev --wan` takes it.
    pub(super) wan: &'static str,
    pub(super) duration: Duration,
    pub(super) work: Work,
}

/// What a case does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Load(Shape),
    /// Under load a store is stopped after a third of the time, and started after two thirds.
    Restart(Shape, &'static str),
    Idle,
    /// Filled until each store has so many bytes of payload, stopped and started, then killed and started.
    Start {
        bytes: u64,
    },
    /// With small caches, filled until each store has so many bytes of payload; then the load alone, and once more
    /// beside readers that replay all of it.
    Replay {
        bytes: u64,
        fresh: Shape,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Without it, a closed loop.
    pub(super) rate: Option<u64>,
    pub(super) size: usize,
    pub(super) level: AckLevel,
    pub(super) topics: u32,
    /// In each datacenter.
    pub(super) subscribers: u32,
}

/// The peak of the requirements: 5,000 topics × 10,000 messages a day, × 1.25.
const PEAK: Shape = Shape { rate: Some(723), size: 5_000, level: AckLevel::Local, topics: 4, subscribers: 1 };
/// Nobody pops: what Raft carries is the order alone.
const ORDER: Shape =
    Shape { rate: Some(3_000), size: 1_000, level: AckLevel::Local, topics: 1, subscribers: 0 };
const MIB: usize = 1 << 20;

const MINUTE: Duration = Duration::from_secs(60);
const HALF: Duration = Duration::from_secs(30);

const fn load(
    name: &'static str,
    what: &'static str,
    wan: &'static str,
    duration: Duration,
    shape: Shape,
) -> Case {
    Case { name, what, wan, duration, work: Work::Load(shape) }
}

pub(super) const CASES: &[Case] = &[
    load("local-real", "723 push/s × 5 kB, LOCAL, 3 subscribers, real distances", "real", MINUTE, PEAK),
    load("local-150ms", "723 push/s × 5 kB, LOCAL, 3 subscribers, 150 ms", "150ms", MINUTE, PEAK),
    load("local-none", "723 push/s × 5 kB, LOCAL, 3 subscribers, no distance", "none", MINUTE, PEAK),
    load(
        "ordered-150ms",
        "723 push/s × 5 kB, ORDERED, 3 subscribers, 150 ms",
        "150ms",
        MINUTE,
        Shape { level: AckLevel::Ordered, ..PEAK },
    ),
    load(
        "unthrottled",
        "as fast as it goes, 5 kB, LOCAL, real distances",
        "real",
        HALF,
        Shape { rate: None, subscribers: 0, ..PEAK },
    ),
    Case {
        name: "relay",
        what: "723 push/s × 5 kB, LOCAL, 3 subscribers; a relay is stopped and started",
        wan: "real",
        duration: MINUTE,
        work: Work::Restart(PEAK, "mci-store-1"),
    },
    load("raft-one-topic", "3,000 push/s × 1 kB, one topic", "real", HALF, ORDER),
    load(
        "raft-5000-topics",
        "3,000 push/s × 1 kB, 5,000 topics",
        "real",
        HALF,
        Shape { topics: 5_000, ..ORDER },
    ),
    load(
        "raft-1mib",
        "20 push/s × 1 MiB, one topic",
        "real",
        HALF,
        Shape { rate: Some(20), size: MIB, ..ORDER },
    ),
    load(
        "raft-1kb",
        "20 push/s × 1 kB, one topic, to compare",
        "real",
        HALF,
        Shape { rate: Some(20), ..ORDER },
    ),
    Case { name: "idle", what: "nothing is pushed", wan: "real", duration: MINUTE, work: Work::Idle },
    Case {
        name: "start",
        what: "start with 2 GB in each store",
        wan: "real",
        duration: Duration::from_secs(900),
        work: Work::Start { bytes: 2_000_000_000 },
    },
    Case {
        name: "replay",
        what: "200 push/s × 5 kB beside replays of 400 MB, caches of 16 MB",
        wan: "none",
        duration: HALF,
        work: Work::Replay { bytes: 400_000_000, fresh: Shape { rate: Some(200), ..PEAK } },
    },
];

/// What a full store was filled with.
pub(super) const FILL: Shape = Shape { rate: None, subscribers: 0, ..PEAK };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_times_are_not_nothing() {
        for (place, case) in CASES.iter().enumerate() {
            assert!(CASES[..place].iter().all(|other| other.name != case.name), "{}", case.name);
            assert!(case.duration >= HALF, "{}", case.name);
        }
    }
}
