//! The message store: origin logs, Follow, the index of the committed order, and reads.
//!
//! It decides neither the order of messages (the Message ID service does) nor who has seen what (subscription-position
//! does), and knows nothing of clients: push and pop servers are its callers.
//!
//! The path of a record: [`grpc`] (Append) → [`worker`]`/append` → [`commit`] and [`worker`]`/serve` in the same turn →
//! followers' [`worker`]`/follow` → acknowledged → [`worker`]`/order` reports it → facts come back → the index → readable:
//! [`worker`]`/read` from memory ([`recent`]), [`cold`] from disk, [`repair`]ed where it cannot
//! be read. [`times`]: which ID was ordered when.
//!
//! - [`keys`]: what is on disk. [`recover`]: what a restart makes of it.
//! - [`layout`]: what the cluster map means here. [`dial`]: the tasks that follow from it: [`follow_stream`],
//!   [`session_stream`], [`copy_index`].
//! - [`outlet`]: how the worker talks to streams without ever waiting for one.
//!
//! **Invariant** (I1, I2): nothing is acknowledged, reported or told before `Storage::write` has resolved.
//! **Invariant** (I10): nothing here deletes records, but for what lies beyond a log's committed end.

mod cold;
mod commit;
mod convert;
mod copy_index;
mod dial;
mod error;
mod figures;
mod follow_stream;
mod grpc;
mod handle;
mod keys;
mod layout;
mod metrics;
mod options;
mod outlet;
mod read_stream;
mod recent;
mod recover;
mod repair;
mod session_stream;
mod times;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use trunkline_ports::{Host, Router, Storage};
use trunkline_runtime::{Service, Shutdown};

pub use error::StartError;
pub use keys::SPACES;
pub use options::Options;

use figures::Figures;
use handle::Handle;
use layout::Layout;
use metrics::Metrics;
use repair::Repairs;
use worker::{Beginning, Worker};

/// How long draining waits for pushes to be answered.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Recovers what is on disk and starts.
///
/// # Errors
/// [`StartError`]: the options, the disk, or a map that does not name this node.
pub async fn start(
    host: Host,
    storage: Arc<dyn Storage>,
    options: Options,
    shutdown: Shutdown,
    metrics: &mut Registry,
) -> Result<Service, StartError> {
    options.validate().map_err(StartError::Options)?;
    let me = host.identity.node;
    let layout = Layout::new(host.map(), me).ok_or(StartError::NotInMap(me))?;
    let recovered = recover::recover(&*storage, &layout, me, host.identity.boot).await?;
    let (handle, inputs, wake) = Handle::new();
    let metrics = Metrics::register(metrics);
    let figures = Arc::new(Figures::default());
    let repairs = Repairs::new(host.clone(), handle.clone(), storage.clone(), metrics.clone());
    let doors = grpc::Doors {
        host: host.clone(),
        handle: handle.clone(),
        storage: storage.clone(),
        cold_reads: Arc::new(Semaphore::new(options.cold_reads_max)),
        repairs: repairs.clone(),
    };
    let process = host.process.clone();
    let beginning = Beginning {
        host,
        options,
        shutdown,
        handle,
        inputs,
        wake,
        layout,
        recovered,
        repairs,
        metrics,
        figures: figures.clone(),
    };
    let worker = Worker::new(beginning, storage);
    process.spawn("store-worker", worker.run());
    let (status, ready) = (figures.clone(), figures.clone());
    Ok(Service {
        internal: grpc::router(&doors),
        public: Router::new(),
        status: Arc::new(move || status.status()),
        ready: Arc::new(move || ready.is_ready()),
        drained: Box::pin(drained(figures)),
    })
}

/// Ends when no push waits for an answer, or after [`DRAIN_MAX`].
async fn drained(figures: Arc<Figures>) {
    let answered = async {
        while figures.waiting() > 0 {
            sleep(DRAIN_LOOK).await;
        }
    };
    let _ = timeout(DRAIN_MAX, answered).await;
}
