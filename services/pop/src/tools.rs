//! What all workers of one server work with.

use std::sync::Arc;
use std::time::Duration;

use trunkline_ports::Host;
use trunkline_runtime::Shutdown;

use crate::dead_letters::DeadLetters;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::positions::Positions;
use crate::stores::Stores;
use crate::table::Table;
use crate::topics::Topics;

#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) host: Host,
    pub(crate) positions: Arc<Positions>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) dead_letters: Arc<DeadLetters>,
    pub(crate) table: Arc<Table>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) idle_after: Duration,
}
