//! Test doubles of the ports: a simulated network, processes that crash and pause, clocks that jump, and a disk that
//! loses what was not synced.
//!
//! Everything runs on one tokio runtime whose clock is paused, and draws from one seed: the same seed gives the same
//! history. Unit tests of services use the pieces; tests/simulation makes a cluster of them.
//!
//! - [`random`]: all randomness, from one seed.
//! - [`process`]: the process port; every task behind a gate that a pause closes and a crash empties.
//! - [`network`]: the transport port: messages with latency, in order per direction; cuts, refusals, resets.
//! - [`storage`]: the storage port in memory; a crash takes back any suffix of what was not on disk.
//! - [`hostile`]: a storage that fails a write, is full, or answers that it is corrupt.
//! - [`consensus`]: the consensus port without a protocol: one log per group, applied everywhere at once.
//! - [`parts`]: what stands between a node and its ports; [`mutants`]: deliberately broken builds, through it.
//! - [`traces`]: the spans that nodes begin.
//! - [`fixture`]: cluster maps and hosts.
//! - [`client`]: the public API, call by call; [`load`]: publishers and consumers that remember what they were told.
//! - [`wait`]: waiting for a value, with a deadline.

pub mod client;
pub mod consensus;
pub mod fixture;
pub mod hostile;
pub mod load;
pub mod mutants;
pub mod network;
pub mod parts;
pub mod process;
pub mod random;
pub mod storage;
pub mod traces;
pub mod wait;

pub use client::Client;
pub use consensus::{MemoryCluster, MemoryConsensus};
pub use fixture::{MapBuilder, SimulatedNode};
pub use hostile::{Faults, HostileStorage};
pub use load::Load;
pub use mutants::{BrokenBuild, Mutant};
pub use network::SimulatedNetwork;
pub use parts::{AsTheyAre, Parts};
pub use process::SimulatedProcess;
pub use random::Random;
pub use storage::{MemoryStorage, Visibility};
pub use traces::{RecordedSpan, RecordedTraces};
pub use wait::eventually;
