//! Small files that are replaced as a whole: write beside, fsync, rename, fsync the folder.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::DirectoryError;

pub(super) const FOLDER: &str = "documents";

/// # Panics
/// For a name that could leave the folder: names stand in the code.
pub(super) fn path(directory: &Path, name: &str) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    assert!(!name.is_empty() && name.chars().all(plain), "{name:?} is no name for a document");
    directory.join(FOLDER).join(name)
}

pub(super) fn load(path: &Path) -> Result<Option<Vec<u8>>, DirectoryError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DirectoryError::disk(path)(error)),
    }
}

pub(super) fn save(path: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
    let beside = path.with_extension("new");
    write(&beside, bytes).map_err(DirectoryError::disk(&beside))?;
    fs::rename(&beside, path).map_err(DirectoryError::disk(path))?;
    let folder = path.parent().expect("a document stands in a folder");
    sync_folder(folder)
}

/// Makes the folder's names durable, as fsync of a file does not.
fn sync_folder(folder: &Path) -> Result<(), DirectoryError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DirectoryError::disk(folder))
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
