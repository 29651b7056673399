//! The state machine of an ordering group, and its leader's assignments from reports.
//!
//! - [`entry`]: what is committed, as bytes. No entry carries an ID.
//! - [`state`]: what committed entries make: topics, IDs, how far each log is ordered; and what it answers.
//! - [`fact`] and [`history`]: what stores are told of it, kept until stores of two datacenters have it on disk.
//! - [`topics`], [`logs`]: the two tables of the state.
//! - [`snapshot`]: the whole state as bytes.
//! - [`leader`]: decides what to propose, from what live sessions of stores say now ([`sessions`], [`runs`],
//!   [`replicas`]) and the state.
//! - [`order_time`]: what the clocks of the voters agree on.
//! - [`digest`]: one number for what a session holds.
//!
//! **Invariant** (I3): entries carry no IDs and no claim is believed against the state: each is checked when it is
//! applied, so late, repeated and reordered proposals of any leader are harmless.
//! **Invariant** (I10): silence is never "held": only what a live session has said counts.

pub mod digest;
pub mod entry;
pub mod fact;
pub mod history;
pub mod leader;
pub mod logs;
pub mod order_time;
pub mod replicas;
pub mod runs;
pub mod sessions;
pub mod snapshot;
pub mod state;
pub mod topics;

pub use digest::digest;
pub use entry::{Entry, InvalidEntry, LogPart, LogReference, PartRun, Predecessor};
pub use fact::{Fact, FactsAt, OrderedRun};
pub use history::Since;
pub use leader::{HeldVector, Leader, LogReport, Proposal, ProposalId, Report, Source, Verdict};
pub use logs::{Before, OpenLog};
pub use order_time::{Clocks, OrderTime, lower_median};
pub use replicas::{Replica, Replicas};
pub use runs::Run;
pub use state::{Answer, Shape, State};
pub use topics::{Standing, Topic};
