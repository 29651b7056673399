//! The disk's own append and fsync: what no durable push can be faster than.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

const APPENDS: usize = 100;
const BYTES: usize = 4_096;
/// A slow disk is not probed for longer.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The median time of an append of 4 KiB with fsync, in a file of its own that is removed afterwards.
#[allow(clippy::disallowed_methods, reason = "an fsync blocks; this is its adapter")]
pub(super) async fn run(directory: Option<PathBuf>) -> io::Result<Duration> {
    let directory = directory.unwrap_or_else(std::env::temp_dir);
    let (told, result) = oneshot::channel();
    std::thread::spawn(move || {
        // The asker may have gone.
        let _ = told.send(probe(&directory));
    });
    result.await.unwrap_or_else(|_| Err(io::Error::other("the probe has ended early")))
}

#[allow(clippy::disallowed_methods, reason = "a real disk takes real time")]
fn probe(directory: &Path) -> io::Result<Duration> {
    let path = directory.join(format!("trunkline-probe-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let (block, begun) = ([0x5a; BYTES], std::time::Instant::now());
    let mut times = Vec::with_capacity(APPENDS);
    let done = loop {
        let since = std::time::Instant::now();
        if let Err(error) = file.write_all(&block).and_then(|()| file.sync_data()) {
            break Err(error);
        }
        times.push(since.elapsed());
        if times.len() == APPENDS || begun.elapsed() > TIME_MAX {
            break Ok(());
        }
    };
    fs::remove_file(&path)?;
    done?;
    times.sort();
    Ok(times[times.len() / 2])
}
