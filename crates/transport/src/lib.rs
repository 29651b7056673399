//! The transport port on gRPC: messages go in and out as raw frames, typed by the ports above.
//!
//! - [`GrpcTransport`]: calls and streams to other nodes, one connection per (address, class), redialed with backoff.
//! - [`Listener`]: hosts a [`trunkline_ports::Router`] as gRPC, with health, and for clients with reflection, limits
//!   and load shedding; for operators with pages over plain HTTP.
//! - [`Dial`], [`Accept`]: where connections come from: TCP, unless a simulation brings its own.
//! - [`Wan`]: in `dev`, the distances between datacenters, as a delay line below HTTP/2.
//!
//! The path of a call: `client.rs` → `link.rs` (a connection that is up) → `dial.rs` (makes one) → the network →
//! `listener.rs` → `hosting.rs` (finds the handler) → the handler, as a task of the node's process.
//!
//! No retries happen here: whether a call may be repeated is known only above.

mod client;
mod codec;
mod connection;
mod delay_line;
mod dial;
mod executor;
mod hosting;
mod link;
mod listener;
mod socket;
mod timeout;
mod wan;

pub use client::GrpcTransport;
pub use hosting::Routes;
pub use listener::{BindError, Bound, Door, Listener, Page, Pages};
pub use socket::{Accept, Dial, Socket};
pub use wan::{Wan, WanBytes};
