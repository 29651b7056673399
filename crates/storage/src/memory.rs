//! The cache and the write buffers that all stores of one process share, so that many small stores cost little.

use std::fmt;

use rocksdb::{Cache, WriteBufferManager};

use crate::options::Options;

/// Created once per process and given to every store that it opens. Cheap to clone.
#[derive(Clone)]
pub struct SharedMemory {
    pub(crate) cache: Cache,
    pub(crate) write_buffers: WriteBufferManager,
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("cache_bytes", &self.cache.get_usage())
            .field("write_buffer_bytes", &self.write_buffers.get_usage())
            .finish()
    }
}

impl SharedMemory {
    /// Of `block-cache` and `write-buffers`.
    pub fn new(options: &Options) -> Self {
        Self {
            cache: Cache::new_lru_cache(options.block_cache.as_usize()),
            // Writers are never stalled for it: beyond the limit the store that writes goes to a table file sooner.
            write_buffers: WriteBufferManager::new_write_buffer_manager(
                options.write_buffers.as_usize(),
                false,
            ),
        }
    }
}
