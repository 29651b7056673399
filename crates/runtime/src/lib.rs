//! What every driver needs: backoff, shutdown, retries, and the production side of the process port.
//!
//! - [`service`]: the shape in which a service hands itself to its process.
//! - [`shutdown`]: drain first, then stop.
//! - [`backoff`]: delays between attempts, with jitter, bounded.
//! - [`replaced`]: a node whose place another has stops.
//! - [`ticks`]: moments at which several senders speak together.
//! - [`os_process`]: [`trunkline_ports::Process`] on tokio and the operating system.

pub mod backoff;
pub mod os_process;
pub mod replaced;
pub mod service;
pub mod shutdown;
pub mod ticks;

pub use backoff::Backoff;
pub use os_process::OsProcess;
pub use service::Service;
pub use shutdown::Shutdown;
pub use ticks::Ticks;
