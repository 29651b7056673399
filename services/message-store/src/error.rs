//! Why a store does not start.

use thiserror::Error;
use trunkline_ports::StorageError;

#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Options(String),
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// Written by a later version.
    #[error("the store on disk has format {0}, this version knows up to {1}")]
    Format(u32, u32),
    /// A row that no version wrote.
    #[error("the store on disk is corrupt: a row of {0} cannot be read")]
    Corrupt(&'static str),
    #[error("node {0} is not a message store of the cluster map")]
    NotInMap(trunkline_types::NodeId),
}
