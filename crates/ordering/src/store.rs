//! What a store knows: its logs, how far it holds them, the index of the committed order, watermarks.
//!
//! - [`log`]: how far one log has come here, and as far as is known elsewhere. All ends are exclusive.
//! - [`runs`]: what the records beyond the ordered ones are, for reports.
//! - [`topic`]: which (log, sequence) each ID of a topic is, and up to which ID all is readable.
//! - [`catalog`]: all logs, topics and groups; [`facts`] enter it in two steps: staged when they come, settled when they
//!   may be told: an ordering at once, what is on disk when it is. Or all of a group at once, by [`copy`].
//! - `closed`: what stays of logs that are closed and complete. [`unknown`]: records that wait for a topic to be created.
//! - [`reports`]: what a session with a voter is told; [`held`]: what is said beside it each second.
//! - [`source`]: from whom a follower takes what it lacks. [`boots`]: who must not go on under its identity.
//! - [`awaiting`]: records of large payloads whose payload is on its way.
//! - [`appends`]: which answers pushes still wait for; [`succession`]: when an origin log gets a successor.
//!
//! Times are durations since the driver's start: nothing here knows a clock.
//!
//! **Invariant** (I3): IDs are accepted only if they continue the topic's last, records only if they continue the log.
//! **Invariant** (I2): nothing is reported that the driver has not said to be on disk.

pub mod appends;
pub mod awaiting;
pub mod boots;
pub mod catalog;
mod closed;
pub mod copy;
pub mod facts;
pub mod held;
pub mod log;
pub mod reports;
pub mod runs;
pub mod source;
pub mod succession;
pub mod topic;
pub mod unknown;

#[cfg(test)]
mod tests;

pub use appends::{Answer, Appends, Level};
pub use awaiting::Awaiting;
pub use boots::Boots;
pub use catalog::{Catalog, Effect};
pub use copy::{Copied, CopiedLog, CopiedTopic};
pub use facts::{Fact, FactsAt, Inconsistent, Row, Settled};
pub use held::{Held, LogHeld};
pub use log::{Accepted, Log, LogNo};
pub use reports::{LogReport, Report, Reports};
pub use runs::{Run, RunWindow};
pub use source::{Ask, Candidate, Pull};
pub use succession::Succession;
pub use topic::{IndexRun, Topic};
pub use unknown::UnknownTopics;
