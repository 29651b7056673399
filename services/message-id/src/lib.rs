//! The Message ID service: the Raft groups that order messages, and the cluster map.
//!
//! What is decided, and why it is safe, stands in `trunkline_ordering::group`; here bytes are moved. A push on its way
//! to its ID: `session` (reports of a store) → `route` (which way to the leader) → `link` and `relay` (through
//! other voters) → `leader` (proposes assignments) → `machine` (applies them) → `facts` (told to every store).
//!
//! - `words`: what a session says at the same time goes in one message.
//! - [`start`]: what runs in a node of this role.
//! - `topics`, `grpc`: creation, deletion, finding and listing of topics.
//! - `map_group`: group 0, which holds the cluster map.
//!
//! It stores no message, and no payload passes through it.

mod clocks;
mod convert;
mod error;
mod facts;
mod grpc;
mod leader;
mod link;
mod machine;
mod map_group;
mod member;
mod metrics;
mod options;
mod order_time;
mod positions;
mod relay;
mod route;
mod session;
mod shared_state;
mod start;
mod status;
mod topics;
mod voter;
mod words;

pub use error::StartError;
pub use options::Options;
pub use start::{Started, start};
