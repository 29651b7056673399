//! The production services on a simulated network, clock and disk: a seed decides everything.
//!
//! - [`simulation`]: one seed, one paused runtime, one history; seeds run on threads of their own.
//! - [`history`]: what happened, as lines and as one hash.
//! - [`raft`]: Raft nodes alone, with a state machine that remembers what it was given.
//! - [`pipes`]: byte pipes under the real HTTP/2, for tests/over_http2.
//! - [`cluster`]: whole clusters: every service in every datacenter, on memory disks that survive a crash.
//!
//! A failure prints the command that replays it. A seed replays only on the same binary.

#[cfg(not(tokio_unstable))]
compile_error!(
    "run from tests/simulation without RUSTFLAGS, so that its .cargo/config.toml is read: see `make test`"
);

pub mod cluster;
pub mod history;
pub mod pipes;
pub mod raft;
pub mod simulation;

pub use history::History;
pub use pipes::Pipes;
pub use simulation::{Simulation, World};
