//! A node's data directory: who the node is, which start of it this is, and small documents.
//!
//! ```text
//! lock            held while the directory is in use
//! identity.json   who: written once, when the directory is created
//! boot.json       which start this is: on disk before it is used
//! documents/NAME  small documents, replaced as a whole (the cluster map)
//! store/          the database of the node's role
//! ```

mod document;
mod identity;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use trunkline_types::{Boot, NodeId, Role};

/// Each is one line for the person who started the process.
#[derive(Debug, Error)]
pub enum DirectoryError {
    #[error("the data directory {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the data directory {} belongs to a {found} node, not to a {wanted} node", path.display())]
    OtherRole { path: PathBuf, found: String, wanted: Role },
    #[error("the data directory {} has format {found}; this version knows formats up to {known}: start a newer version", path.display())]
    FromTheFuture { path: PathBuf, found: u64, known: u64 },
    /// Not made by us, or changed by someone else: a node never goes on under an identity that it cannot be sure of.
    #[error("{} cannot be understood: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: std::io::Error },
}

impl DirectoryError {
    fn disk(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Disk { path, source }
    }
}

/// An open data directory, locked until the last handle is gone. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    node: NodeId,
    boot: Boot,
    /// One document is replaced at a time.
    saving: Mutex<()>,
    _lock: File,
}

impl Directory {
    /// Opens the directory of a node, or makes one: a new directory is a new node. Every call is a new boot, on disk
    /// before this returns. Blocks for a few fsyncs.
    ///
    /// # Errors
    /// See [`DirectoryError`]; nothing was changed.
    pub fn open(path: impl AsRef<Path>, role: Role) -> Result<Self, DirectoryError> {
        let path = path.as_ref().to_owned();
        create_durably(&path.join(document::FOLDER)).map_err(DirectoryError::disk(&path))?;
        let lock = lock(&path)?;
        let node = identity::open(&path, role)?;
        let boot = identity::next_boot(&path)?;
        Ok(Self(Arc::new(Inner { path, node, boot, saving: Mutex::default(), _lock: lock })))
    }

    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// This start of the node.
    pub fn boot(&self) -> Boot {
        self.0.boot
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where the role's database belongs.
    pub fn store(&self) -> PathBuf {
        self.0.path.join("store")
    }

    /// The document that was last saved under this name.
    ///
    /// # Errors
    /// Of the disk.
    pub fn load(&self, name: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
        document::load(&document::path(&self.0.path, name))
    }

    /// Replaces a document, all or nothing; it is on disk when this returns. For a name that stands in the code:
    /// letters, digits and `-`. Blocks for two fsyncs: see [`Directory::save_in_background`].
    ///
    /// # Errors
    /// Of the disk: the old document or the new one is there.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), DirectoryError> {
        let _one_at_a_time = self.0.saving.lock().unwrap_or_else(PoisonError::into_inner);
        document::save(&document::path(&self.0.path, name), bytes)
    }

    /// [`Directory::save`] off the async runtime. Its callers save one version after the other, not two at once.
    ///
    /// # Errors
    /// As [`Directory::save`].
    pub async fn save_in_background(&self, name: &'static str, bytes: Vec<u8>) -> Result<(), DirectoryError> {
        let directory = self.clone();
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the adapter; its callers wait for one save at a time"
        )]
        let saved = tokio::task::spawn_blocking(move || directory.save(name, &bytes)).await;
        saved.unwrap_or_else(|ended| {
            let path = document::path(&self.0.path, name);
            Err(DirectoryError::Disk { path, source: std::io::Error::other(ended.to_string()) })
        })
    }
}

/// Creates a folder and those above it, so that it is still there after a loss of power: what is fsynced inside of it
/// is worth nothing without it.
pub(crate) fn create_durably(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<_> =
        folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    fs::create_dir_all(folder)?;
    for parent in missing.iter().filter_map(|path| path.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Held by the open file: it goes with the process, however that ends.
fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(DirectoryError::disk(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(DirectoryError::disk(&path)(error)),
    }
}

#[cfg(test)]
mod tests;
