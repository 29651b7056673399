//! The service as its callers see it: three voters on a simulated network, consensus without a protocol below.

#![allow(clippy::unwrap_used, reason = "a test: what is not there fails it")]
#![allow(missing_debug_implementations, unreachable_pub, reason = "nobody uses a test binary")]

mod cluster;
mod entries;
mod groups;
mod order_time;
mod producers;
mod replace;
mod sessions;
mod store;
mod topics;
