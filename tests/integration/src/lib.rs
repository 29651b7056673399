//! The real binary, three datacenters, real gRPC.
//!
//! - [`binary`]: finds and builds `trunkline`.
//! - [`child`]: one process of it, its log, its end.
//! - [`ports`]: ports that are free.
//! - [`dev`]: `trunkline dev` on ports of its own.
//! - [`processes`]: every role as a process of its own, made a cluster.
//! - [`connect`]: clients over gRPC, and a load on them.
//! - [`collector`]: where traces go.
//! - [`lines`]: lines of real text.
//!
//! One cluster at a time: each has dozens of nodes, and the machine may have two cores.

pub mod binary;
pub mod child;
pub mod collector;
pub mod connect;
pub mod dev;
pub mod lines;
pub mod ports;
pub mod processes;

pub use dev::Dev;
pub use processes::Processes;
pub use trunkline_testkit::{Client, Load, eventually};

/// The datacenters of every cluster here, in the order of their ports.
pub const DATACENTERS: [&str; 3] = ["nyc", "mci", "sea"];
