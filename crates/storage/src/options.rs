//! What an operator may tune.

use serde::{Deserialize, Serialize};
use trunkline_types::ByteSize;
use trunkline_types::limits::GROUP_COMMIT_BYTES_MAX;

const WRITE_BUFFER_MIN: ByteSize = ByteSize::mib(1);

/// How index spaces are compressed. Payloads never are: their owners compress better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    None,
    #[default]
    Lz4,
}

/// The section `[storage]` of a node's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Shared by all stores of a process: blocks read from disk, with their indexes and filters.
    pub block_cache: ByteSize,
    /// Shared by all stores of a process: written, and not yet in a table file.
    pub write_buffers: ByteSize,
    /// One space of one store, until it goes to a table file.
    pub write_buffer: ByteSize,
    /// One store's write-ahead log; what bounds the time of a restart.
    pub write_ahead_log: ByteSize,
    /// One file of payloads.
    pub blob_file: ByteSize,
    pub compression: Compression,
    /// Free space below which new pushes are refused. By default 5 % of the disk, at most 20 GiB.
    pub disk_reserve: Option<ByteSize>,
    /// Table files that one store keeps open.
    pub open_files_max: u32,
    /// Reads of one store that are at the disk at a time.
    pub parallel_reads: u32,
    /// Reads of many old rows of one store that are at the disk at a time, beside those.
    pub parallel_replays: u32,
    /// Flushes and compactions of one store at a time.
    pub background_jobs: u32,
    /// Read past the system's page cache. For measurements: as if the data were far larger than memory.
    pub direct_reads: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_cache: ByteSize::mib(512),
            write_buffers: ByteSize::mib(512),
            write_buffer: ByteSize::mib(64),
            write_ahead_log: ByteSize::mib(512),
            blob_file: ByteSize::mib(256),
            compression: Compression::default(),
            disk_reserve: None,
            open_files_max: 4_096,
            parallel_reads: 32,
            parallel_replays: 8,
            background_jobs: 4,
            direct_reads: false,
        }
    }
}

impl Options {
    /// For many stores in one process, as in `trunkline dev`.
    pub fn small() -> Self {
        Self {
            block_cache: ByteSize::mib(64),
            write_buffers: ByteSize::mib(256),
            write_buffer: ByteSize::mib(8),
            write_ahead_log: ByteSize::mib(64),
            blob_file: ByteSize::mib(64),
            open_files_max: 256,
            parallel_reads: 8,
            parallel_replays: 2,
            background_jobs: 2,
            ..Self::default()
        }
    }

    /// # Errors
    /// A sentence in the words of the file.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("open-files-max", self.open_files_max),
            ("parallel-reads", self.parallel_reads),
            ("parallel-replays", self.parallel_replays),
            ("background-jobs", self.background_jobs),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(format!("storage.{name} must be at least 1"));
        }
        if self.write_buffer < WRITE_BUFFER_MIN {
            return Err(format!("storage.write-buffer must be at least {WRITE_BUFFER_MIN}"));
        }
        if self.write_buffers < self.write_buffer {
            return Err("storage.write-buffers must be at least storage.write-buffer".into());
        }
        if self.write_ahead_log.as_usize() < 2 * GROUP_COMMIT_BYTES_MAX {
            return Err(format!(
                "storage.write-ahead-log must be at least {} bytes",
                2 * GROUP_COMMIT_BYTES_MAX
            ));
        }
        if self.blob_file < WRITE_BUFFER_MIN {
            return Err(format!("storage.blob-file must be at least {WRITE_BUFFER_MIN}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Options::default().validate(), Ok(()));
        assert_eq!(Options::small().validate(), Ok(()));
    }

    #[test]
    fn sizes_are_written_with_units_and_unknown_names_are_refused() {
        let options: Options =
            serde_json::from_str(r#"{"block-cache": "1GiB", "compression": "none"}"#).unwrap();
        assert_eq!(options.block_cache, ByteSize(1 << 30));
        assert_eq!(options.compression, Compression::None);
        assert!(serde_json::from_str::<Options>(r#"{"block-cash": 1}"#).is_err());
    }

    #[test]
    fn what_cannot_work_is_refused_in_the_words_of_the_file() {
        let cases = [
            (Options { parallel_reads: 0, ..Options::default() }, "storage.parallel-reads"),
            (Options { parallel_replays: 0, ..Options::default() }, "storage.parallel-replays"),
            (Options { write_buffer: ByteSize(1), ..Options::default() }, "storage.write-buffer"),
            (Options { write_buffers: ByteSize::mib(1), ..Options::default() }, "storage.write-buffers"),
            (Options { write_ahead_log: ByteSize::mib(1), ..Options::default() }, "storage.write-ahead-log"),
            (Options { blob_file: ByteSize(0), ..Options::default() }, "storage.blob-file"),
        ];
        for (options, word) in cases {
            assert!(options.validate().unwrap_err().starts_with(word), "{word}");
        }
    }
}
