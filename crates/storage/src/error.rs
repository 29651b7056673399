//! Why a store cannot be opened, and how RocksDB's errors read to the users of the port.

use std::path::{Path, PathBuf};

use rocksdb::ErrorKind;
use thiserror::Error;
use trunkline_ports::StorageError;

/// Each is one line for the person who started the process.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    #[error("the store {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the store {} has format {found}; this version knows formats up to {known}: start a newer version", path.display())]
    FromTheFuture { path: PathBuf, found: u32, known: u32 },
    /// What is on disk was changed or lost by someone else than us. Never repaired in silence.
    #[error("the store {} is corrupt: {why}", path.display())]
    Corrupt { path: PathBuf, why: String },
    #[error("the store {} cannot be opened: {why}", path.display())]
    Disk { path: PathBuf, why: String },
}

impl OpenError {
    pub(crate) fn from_rocksdb(path: &Path, error: &rocksdb::Error) -> Self {
        let (path, why) = (path.to_owned(), one_line(error.as_ref()));
        match error.kind() {
            ErrorKind::Corruption => Self::Corrupt { path, why },
            ErrorKind::IOError if why.contains("lock") => Self::InUse { path },
            _ => Self::Disk { path, why },
        }
    }
}

/// A read's error. (A write's is always [`StorageError::Failed`]: what it left behind is unknown.)
pub(crate) fn of_read(error: &rocksdb::Error) -> StorageError {
    let why = one_line(error.as_ref());
    match error.kind() {
        ErrorKind::Corruption => StorageError::Corrupt(why),
        _ => StorageError::Failed(why),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
