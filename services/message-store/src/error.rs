//! Why a store does not start.

use thiserror::Error;
use trunkline_ports::StorageError;

#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Options(String),
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// Written by another version.
    #[error("the store on disk has format {0}, this version knows {1} only")]
    Format(u32, u32),
    /// A row that no version wrote.
    #[error("the store on disk is corrupt: a row of {0} cannot be read")]
    Corrupt(&'static str),
    /// The boot counter was rolled back, or the directory is a copy: this identity has written with a later one.
    #[error("the store has logs of boot {found}, this is boot {own}: the data directory was rolled back")]
    BootBehind { found: trunkline_types::Boot, own: trunkline_types::Boot },
    #[error("node {0} is not a message store of the cluster map")]
    NotInMap(trunkline_types::NodeId),
}
