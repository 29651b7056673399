//! The consensus port on openraft: many groups per node on one log, one writer and one fsync.
//!
//! What it is not: it knows nothing of topics or positions (entries and snapshots are bytes).
//!
//! The path of a proposal: `member/propose` (here, or over a link to the leader) → openraft → `log` (memory, then
//! `writer`, one batch and one fsync for all groups) and `network/pipeline` (many appends under way to each follower) →
//! `link` → the follower's `serve/exchange` → its `log` → back → `machine` (applied) → answer.
//!
//! - [`open`], [`Node`]: all groups of a node.
//! - `member/initialize`, `member/membership`, `member/balance`, `member/hand_over`: a group's first members; those that
//!   the map puts in their places; its leader's return to where it belongs; its way to another voter on drain. Services do
//!   none of this.
//! - `raft`: the only place that names openraft. `convert`, `entry`, `keys`: what is sent and stored.
//! - `timing`: all times, from the map's worst round trip.

mod backoff;
mod convert;
mod entry;
mod figures;
mod keys;
mod link;
mod log;
mod machine;
mod member;
mod members;
mod network;
mod node;
mod options;
mod peers;
mod raft;
mod serve;
mod snapshot;
#[cfg(test)]
mod suite;
mod timing;
mod writer;

pub use figures::Figures;
pub use keys::SPACES;
pub use node::{Node, open};
pub use options::Options;
