//! Decides the order of messages. Pure: no I/O, no clock, no task, no randomness; its Cargo.toml has none.
//!
//! - [`group`]: the state machine of an ordering group, and its leader's assignments from reports.
//! - [`store`]: what a store knows: its logs, how far it holds them, the index of the committed order, watermarks.

pub mod group;
pub mod store;
