//! The Rust client: finds the nearest datacenter, fails over, retries by the error rules, batches and keeps order.
//!
//! It speaks through [`trunkline_ports::Network`], so it runs over gRPC and in the simulator alike; whoever makes it
//! plugs in the transport.
//!
//! - [`Endpoints`]: where the datacenters are.
//! - [`Client`]: every call, at the endpoint that is best at the moment. Whatever fails is made again wherever that may
//!   help, within a budget: also pushes, for their messages have producer ids and sequences, and so count once. Those
//!   without are made again only when it is certain that nothing was stored.
//! - [`PushStream`]: many messages to one topic, in order, batched.
//! - [`Subscriber`]: pops, and echoes what it was given.
//! - [`Consumer`]: messages as they come, each with a handle; deadlines are renewed, streams resumed.

mod client;
mod consumer;
mod endpoints;
mod nearness;
mod options;
mod ping;
mod producer;
mod push;
mod push_stream;
mod retry;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;
mod topics;

pub use client::{Client, UnknownDatacenter};
pub use consumer::{Acked, ConsumeOptions, Consumer, Delivery, Event};
pub use endpoints::{Endpoint, Endpoints, InvalidEndpoints};
pub use options::{Options, StreamOptions};
pub use push::{Failure, Outcome, Pushed};
pub use push_stream::{Pending, PushStream};
pub use subscriber::Subscriber;
/// The messages of the API.
pub use trunkline_wire::v1 as api;
pub use trunkline_wire::{Code, Status};
