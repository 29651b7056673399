//! The real binary, three datacenters, real gRPC.
//!
//! - [`binary`]: finds and builds `trunkline`.
//! - [`child`]: one process of it, its log, its end.
//! - [`ports`]: ports that are free.
//! - [`dev`]: `trunkline dev` on ports of its own.
//! - [`processes`]: every role as a process of its own, made a cluster.
//! - [`client`]: the public API at one datacenter, call by call.
//! - [`load`]: publishers and consumers that remember what they were told.
//! - [`lines`]: lines of real text.
//! - [`wait`]: waiting for a value, with a deadline.
//!
//! One cluster at a time: each has dozens of nodes, and the machine may have two cores.

pub mod binary;
pub mod child;
pub mod client;
pub mod dev;
pub mod lines;
pub mod load;
pub mod ports;
pub mod processes;
pub mod wait;

pub use client::Client;
pub use dev::Dev;
pub use processes::Processes;
pub use wait::eventually;

/// The datacenters of every cluster here, in the order of their ports.
pub const DATACENTERS: [&str; 3] = ["nyc", "mci", "sea"];
