//! The storage port on RocksDB, and the data directory with its identity, boot and lock.
//!
//! The only crate that names rocksdb; only the node binary links it.
//!
//! - [`directory`]: a node's data directory: who the node is, which start of it this is, and small documents.
//! - [`options`]: what an operator may tune.
//! - [`memory`]: the cache and the write buffers that all stores of one process share.
//! - [`rocks`]: [`trunkline_ports::Storage`] on RocksDB. The path of a write: `RocksStorage::write` puts the batch in
//!   the `intake` in call order; the one `writer` thread takes all that waits, writes it as one WAL record, fsyncs
//!   once and answers everyone. The path of a read: memory first, inline; then the disk, on a bounded pool of
//!   blocking threads (`reader`).

pub mod directory;
pub mod error;
pub mod memory;
pub mod options;
pub mod rocks;

pub use directory::{Directory, DirectoryError};
pub use error::OpenError;
pub use memory::SharedMemory;
pub use options::{Compression, Options};
pub use rocks::{Reads, RocksStorage};
