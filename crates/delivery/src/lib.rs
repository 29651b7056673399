//! Decides who gets which message. Pure: no I/O, no clock, no task, no randomness; its Cargo.toml has none.
//!
//! - [`position`]: the state machine of a position group: what each subscription has acknowledged, and who may hand
//!   out its messages.
//! - [`dispatcher`]: one subscription's deliveries, in the hands of one pop server.

pub mod dispatcher;
pub mod position;
