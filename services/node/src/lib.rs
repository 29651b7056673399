//! The one binary, `trunkline`: reads configuration, builds services and runs them.
//!
//! It is also the only one that knows them all: here storage and consensus are plugged into the ports, routers are put
//! behind listeners, and a process is started and stopped in order.
//!
//! - [`dev`]: three datacenters in one process.
//! - [`serve`]: some roles of one datacenter as a process of its own; its file.
//! - [`cluster_init`] with [`map_file`]: makes nodes a cluster.
//! - `node`: one running node, whatever its role: identity, directory, listener, service.
//! - `known_map`, `follow_map`, `bootstrap`, `node_service`: how a node comes by the cluster map.
//! - `front`: the listener for clients; `admin`: the one for operators, with `metrics`.
//! - [`command`]: the command line.

mod admin;
mod bootstrap;
pub mod cluster_init;
pub mod command;
pub mod dev;
mod follow_map;
mod front;
pub mod health;
mod known_map;
pub mod map_file;
mod metrics;
mod node;
mod node_service;
pub mod options;
pub mod refusal;
pub mod serve;
mod signals;
mod traced;

pub use command::Trunkline;
pub use refusal::Refusal;
