//! Whether the disk has room for new pushes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use trunkline_types::ByteSize;

pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
const RESERVE_MAX: u64 = 20 << 30;
const RESERVE_SHARE: u64 = 20;

/// Free space, as last looked at by the writer.
#[derive(Debug)]
pub(super) struct Room {
    path: PathBuf,
    reserve: Option<ByteSize>,
    enough: AtomicBool,
    free: AtomicU64,
}

impl Room {
    pub(super) fn new(path: &Path, reserve: Option<ByteSize>) -> Self {
        let room = Self {
            path: path.to_owned(),
            reserve,
            enough: AtomicBool::new(true),
            free: AtomicU64::new(u64::MAX),
        };
        room.look();
        room
    }

    pub(super) fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    /// Free bytes.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Asks the file system. Where it does not answer, the last answer stands.
    pub(super) fn look(&self) {
        let Ok(disk) = fs2::statvfs(&self.path) else { return };
        let reserve = self.reserve.map_or_else(|| default_reserve(disk.total_space()), ByteSize::bytes);
        self.free.store(disk.available_space(), Ordering::Relaxed);
        let enough = disk.available_space() >= reserve;
        if self.enough.swap(enough, Ordering::Relaxed) != enough {
            report(&self.path, enough, disk.available_space(), reserve);
        }
    }
}

fn report(path: &Path, enough: bool, free: u64, reserve: u64) {
    let path = path.display();
    if enough {
        tracing::info!(%path, free, reserve, "the disk has room again");
    } else {
        tracing::warn!(%path, free, reserve, "the disk is below its reserve: pushes are refused");
    }
}

fn default_reserve(total: u64) -> u64 {
    (total / RESERVE_SHARE).min(RESERVE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_twentieth_and_at_most_twenty_gibibytes() {
        assert_eq!(default_reserve(100 << 30), 5 << 30);
        assert_eq!(default_reserve(4 << 40), 20 << 30);
    }

    #[test]
    fn below_the_reserve_there_is_no_room() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Room::new(directory.path(), Some(ByteSize(0))).is_enough());
        assert!(!Room::new(directory.path(), Some(ByteSize(u64::MAX))).is_enough());
    }
}
