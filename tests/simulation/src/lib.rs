//! The production services on a simulated network, clock and disk: a seed decides everything.
//!
//! The machinery:
//! - [`simulation`]: one seed, one paused runtime, one history; seeds run on threads of their own.
//! - [`history`]: what happened, as lines and as one hash; [`heard`]: what services told.
//! - [`raft`]: Raft nodes alone, with a state machine that remembers what it was given.
//! - [`pipes`]: byte pipes under the real HTTP/2, for tests/over_http2.
//! - [`cluster`]: whole clusters: every service in every datacenter, on memory disks that survive a crash.
//! - [`parts`]: where a deliberately broken build replaces a port.
//!
//! A seed, in the order in which it goes:
//! - [`run`]: a phase with faults, a phase without new ones, the return of all, the checks.
//! - [`plan`]: what the seed has chosen: topology, load, faults.
//! - [`faults`]: what goes wrong; [`load`]: clients at work.
//! - [`oracle`]: what clients were told; [`check`]: one file per invariant; [`rare`]: states that are rarely reached.
//! - [`report`]: a line per seed, and the table of a campaign (`src/bin/sim.rs`, `make sim`).
//!
//! A failure prints the command that replays it. A seed replays only on the same binary.

#[cfg(not(tokio_unstable))]
compile_error!(
    "run from tests/simulation without RUSTFLAGS, so that its .cargo/config.toml is read: see `make test`"
);

pub mod check;
pub mod cluster;
pub mod faults;
pub mod heard;
pub mod history;
pub mod load;
pub mod oracle;
pub mod parts;
pub mod pipes;
pub mod plan;
pub mod raft;
pub mod rare;
pub mod report;
pub mod run;
pub mod simulation;

/// A tenth of a run's time is memory, in small pieces: this one takes half as long as the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use history::History;
pub use pipes::Pipes;
pub use simulation::{Simulation, World};
