//! What the disk does by itself, in the cluster's file system and in the same run: no durable push can be faster.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

/// Appends that are timed each time.
const APPENDS: usize = 100;
/// A slow disk is not probed for longer, nor any with more.
const TIME_MAX: Duration = Duration::from_secs(2);
const BYTES_MAX: usize = 256 << 20;
/// What one fsync covers where bytes per second are measured.
const GROUP_BYTES: usize = 4 << 20;

/// Where `trunkline dev` keeps its data by default, where there is such a directory; else the current one. (The one for
/// temporary files may be memory.)
pub(super) fn directory() -> PathBuf {
    let data = PathBuf::from("data");
    if data.is_dir() { data } else { PathBuf::from(".") }
}

/// Probed before and after a run.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    random: Bytes,
    size: usize,
    appends: Vec<Duration>,
    bytes_per_second: Vec<f64>,
}

/// What the probes have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Speed {
    /// An append of a payload's size with its fsync, the median.
    pub(super) append_fsync_p50: Option<Duration>,
    /// Appends with an fsync for each 4 MiB, the mean of the probes.
    pub(super) bytes_per_second: Option<f64>,
}

impl Disk {
    /// `size` is that of an append, whose bytes are the first of `random`.
    pub(super) fn new(directory: &Path, random: Bytes, size: usize) -> Self {
        let directory = directory.to_owned();
        Self { directory, random, size, appends: Vec::new(), bytes_per_second: Vec::new() }
    }

    /// Measures in a file of its own, which is removed afterwards; bytes per second too where asked for.
    #[allow(clippy::disallowed_methods, reason = "an fsync blocks; this is its adapter")]
    pub(super) async fn probe(&mut self, bytes_per_second: bool) -> io::Result<()> {
        let (directory, random, size) = (self.directory.clone(), self.random.clone(), self.size);
        let (told, result) = oneshot::channel();
        std::thread::spawn(move || {
            let both = in_file(&directory, |file| append(file, &random[..size.min(random.len())])).and_then(
                |appends| {
                    let stream = |file: &mut File| write(file, &random);
                    let speed = bytes_per_second.then(|| in_file(&directory, stream)).transpose()?;
                    Ok((appends, speed))
                },
            );
            // The asker may have gone.
            let _ = told.send(both);
        });
        let gone = || Err(io::Error::other("the probe has ended early"));
        let (appends, speed) = result.await.unwrap_or_else(|_| gone())?;
        self.appends.extend(appends);
        self.bytes_per_second.extend(speed);
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn speed(&mut self) -> Speed {
        self.appends.sort();
        let probes = self.bytes_per_second.len();
        Speed {
            append_fsync_p50: self.appends.get(self.appends.len() / 2).copied(),
            bytes_per_second: (probes > 0).then(|| self.bytes_per_second.iter().sum::<f64>() / probes as f64),
        }
    }
}

fn in_file<T>(directory: &Path, work: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let path = directory.join(format!("trunkline-probe-{}", std::process::id()));
    let done = File::create(&path).and_then(|mut file| work(&mut file));
    fs::remove_file(&path)?;
    done
}

#[allow(clippy::disallowed_methods, reason = "a real disk takes real time")]
fn append(file: &mut File, block: &[u8]) -> io::Result<Vec<Duration>> {
    let begun = std::time::Instant::now();
    let mut times = Vec::with_capacity(APPENDS);
    while times.len() < APPENDS && begun.elapsed() < TIME_MAX {
        let since = std::time::Instant::now();
        file.write_all(block)?;
        file.sync_data()?;
        times.push(since.elapsed());
    }
    Ok(times)
}

#[allow(clippy::disallowed_methods, reason = "a real disk takes real time")]
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn write(file: &mut File, random: &[u8]) -> io::Result<f64> {
    let begun = std::time::Instant::now();
    let group = &random[..GROUP_BYTES.min(random.len())];
    let mut written = 0;
    while written < BYTES_MAX && begun.elapsed() < TIME_MAX {
        file.write_all(group)?;
        file.sync_data()?;
        written += group.len();
    }
    Ok(written as f64 / begun.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_is_measured_and_left_as_it_was() {
        let directory = std::env::temp_dir().join(format!("trunkline-disk-test-{}", std::process::id()));
        fs::create_dir(&directory).expect("created");
        let mut disk = Disk::new(&directory, vec![7; 1 << 20].into(), 100);
        assert_eq!(disk.speed(), Speed::default());
        disk.probe(false).await.expect("probed");
        let speed = disk.speed();
        assert!(speed.append_fsync_p50.is_some_and(|time| time > Duration::ZERO), "{speed:?}");
        assert_eq!(speed.bytes_per_second, None);
        assert_eq!(fs::read_dir(&directory).expect("read").count(), 0);
        fs::remove_dir(&directory).expect("removed");
        assert!(disk.probe(false).await.is_err(), "there is no such directory");
    }
}
