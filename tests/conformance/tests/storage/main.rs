//! The contract of `trunkline_ports::Storage`, held against RocksDB and against the store in memory.

#![allow(clippy::disallowed_methods, reason = "tests may use the runtime that they made")]

#[cfg(test)]
mod contract;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod rocks;
