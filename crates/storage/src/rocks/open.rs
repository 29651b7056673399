//! Opens the database with every space, and holds its format against what this version knows.

use std::path::Path;

use rocksdb::{ColumnFamilyDescriptor, DB, WriteOptions};
use trunkline_ports::Space;

use super::tuning;
use crate::directory::create_durably;
use crate::error::OpenError;
use crate::memory::SharedMemory;
use crate::options::Options;

/// The store's own keys. RocksDB always has this column family, so it is nobody's space.
pub(crate) const OWN_SPACE: &str = "default";
const FORMAT_KEY: &[u8] = b"format";
/// Raised when what is on disk can no longer be read by the version before.
pub(crate) const FORMAT: u32 = 1;

pub(super) fn open(
    path: &Path,
    spaces: &[Space],
    options: &Options,
    memory: &SharedMemory,
) -> Result<(DB, rocksdb::Options), OpenError> {
    create_durably(path)
        .map_err(|error| OpenError::Disk { path: path.to_owned(), why: error.to_string() })?;
    let of_database = tuning::of_database(options, memory);
    // A space that this version does not know stays untouched: RocksDB insists on opening all that there are.
    let present = if path.join("CURRENT").exists() {
        DB::list_cf(&of_database, path).map_err(|error| OpenError::from_rocksdb(path, &error))?
    } else {
        Vec::new()
    };
    let unknown = present.into_iter().filter(|name| spaces.iter().all(|space| space.name != name));
    let names = spaces
        .iter()
        .map(|space| (space.name.to_owned(), Some(*space)))
        .chain(unknown.map(|name| (name, None)))
        .chain([(OWN_SPACE.to_owned(), None)])
        .collect::<std::collections::BTreeMap<_, _>>();
    let families = names
        .into_iter()
        .map(|(name, space)| ColumnFamilyDescriptor::new(name, tuning::of_space(space, options, memory)));
    let database = DB::open_cf_descriptors(&of_database, path, families)
        .map_err(|error| OpenError::from_rocksdb(path, &error))?;
    check_format(&database, path)?;
    Ok((database, of_database))
}

fn check_format(database: &DB, path: &Path) -> Result<(), OpenError> {
    let of_rocksdb = |error: rocksdb::Error| OpenError::from_rocksdb(path, &error);
    let corrupt = |why: &str| OpenError::Corrupt { path: path.to_owned(), why: why.to_owned() };
    let Some(stored) = database.get(FORMAT_KEY).map_err(of_rocksdb)? else {
        if database.latest_sequence_number() > 0 {
            return Err(corrupt("it has no format version"));
        }
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        return database.put_opt(FORMAT_KEY, FORMAT.to_string(), &durable).map_err(of_rocksdb);
    };
    let found = std::str::from_utf8(&stored).ok().and_then(|text| text.parse::<u32>().ok());
    match found {
        None => Err(corrupt("its format version is not a number")),
        Some(found) if found > FORMAT => {
            Err(OpenError::FromTheFuture { path: path.to_owned(), found, known: FORMAT })
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space::new("space");

    fn reopen_after(change: impl FnOnce(&DB)) -> Result<DB, OpenError> {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::small();
        let memory = SharedMemory::new(&options);
        change(&open(directory.path(), &[SPACE], &options, &memory).unwrap().0);
        open(directory.path(), &[SPACE], &options, &memory).map(|(database, _)| database)
    }

    #[test]
    fn a_store_of_this_version_opens_again() {
        assert!(reopen_after(|_| ()).is_ok());
    }

    #[test]
    fn a_store_from_the_future_is_refused_in_one_line() {
        let error = reopen_after(|database| database.put(FORMAT_KEY, "7").unwrap()).unwrap_err();
        assert!(matches!(error, OpenError::FromTheFuture { found: 7, known: FORMAT, .. }), "{error}");
        assert!(
            error
                .to_string()
                .ends_with("has format 7; this version knows formats up to 1: start a newer version")
        );
    }

    #[test]
    fn a_store_without_a_format_that_can_be_read_is_refused() {
        let missing = reopen_after(|database| database.delete(FORMAT_KEY).unwrap()).unwrap_err();
        let unreadable = reopen_after(|database| database.put(FORMAT_KEY, "one").unwrap()).unwrap_err();
        for error in [missing, unreadable] {
            assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        }
    }
}
