//! The Rust client: finds the nearest datacenter, fails over, retries by the error rules, batches and keeps order.
//!
//! It speaks through [`trunkline_ports::Network`], so it runs over gRPC and in the simulator alike; whoever makes it
//! plugs in the transport.
//!
//! - [`Endpoints`]: where the datacenters are.
//! - [`Client`]: every call, at the endpoint that is best at the moment. Pushes are made again only when it is certain
//!   that nothing was stored; everything else whenever it may help, within a budget.
//! - [`PushStream`]: many messages to one topic, in order, batched.
//! - [`Fetch`]: a large payload, chunk by chunk. Pushing one needs nothing special: what is too large to go with its
//!   message goes in chunks, from memory or from a [`PayloadSource`].
//! - [`Subscriber`]: pops, and echoes what it was given.

mod client;
mod endpoints;
mod fetch;
mod nearness;
mod options;
mod payload;
mod ping;
mod push;
mod push_stream;
mod retry;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;
mod topics;

pub use client::{Client, UnknownDatacenter};
pub use endpoints::{Endpoint, Endpoints, InvalidEndpoints};
pub use fetch::Fetch;
pub use options::{Options, StreamOptions};
pub use payload::PayloadSource;
pub use push::{Failure, Outcome, Pushed};
pub use push_stream::{Pending, PushStream};
pub use subscriber::Subscriber;
/// The messages of the API.
pub use trunkline_wire::v1 as api;
pub use trunkline_wire::{Code, Status};
