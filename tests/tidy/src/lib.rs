//! House rules that are executed: floors, file lengths, banned names and words.
//!
//! Each checker is a function from what it looks at to its complaints, so that it can be tested on small bad inputs
//! (`tests` in each module). `tests/house.rs` holds them against this repository.
//!
//! - [`manifests`]: which crate may depend on which, and who may name what.
//! - [`sources`]: Rust files.
//! - [`protos`]: protocol files.
//! - [`words`]: all text.
//! - [`tree`]: the files of this repository.

pub mod manifests;
pub mod protos;
pub mod sources;
pub mod tree;
pub mod words;

/// One line: where, and what is wrong.
pub type Complaint = String;
