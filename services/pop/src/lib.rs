//! The pop service: hands messages out of subscriptions, and serves reads.
//!
//! A subscription is dispatched by one pop server at a time, which keeps its deliveries in memory and commits
//! acknowledgements behind the pops. It stores nothing: whoever takes over starts from what was committed.
//!
//! The path of a Pop: `grpc` decodes it, `validate` checks it, `topics` finds the topic's id, `dispatch` finds the
//! dispatcher: the `worker` here, or by `peers` another server's, or here after acquiring the subscription from
//! `positions`. The worker asks [`trunkline_delivery::dispatcher`], which decides who gets what; `stores` reads ahead
//! of it. In the dispatching server a Pop calls nobody, except that a store is asked before it is
//! said that there is nothing.
//!
//! - `table`: the subscriptions dispatched here; `handle`: one of them; `routes`: where others are.
//! - `errand`: a call that may be done here or forwarded; `reply`: what is said to it.
//! - `lease`: a subscription as it was acquired, for its worker.
//! - `callers`, `memory`, `under_way`, `tools`: of a worker, who waits, what it holds, what it waits for, what it uses.
//! - `read_link`: the stream on which one store is read.
//! - `nearest`: asks the nearest node that answers.
//! - `subscriptions`: Subscribe, GetSubscription, ListSubscriptions; `administration`: Seek, UpdateSubscription,
//!   DeleteSubscription; `change`: what these mean to a dispatcher; `starts`: which ID a start is; `reading`: Read.

mod administration;
mod callers;
mod change;
mod dispatch;
mod errand;
mod error;
mod grpc;
mod handle;
mod lease;
mod memory;
mod metrics;
mod nearest;
mod options;
mod peers;
mod positions;
mod read_link;
mod reading;
mod reply;
mod routes;
mod starts;
mod stores;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;
mod tools;
mod topics;
mod trace;
mod under_way;
mod validate;
mod worker;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use trunkline_ports::Host;
use trunkline_runtime::{Service, Shutdown};
use trunkline_wire::internal::GetStatusResponse;

pub use error::StartError;
pub use options::Options;

use administration::Administration;
use dispatch::Dispatch;
use grpc::Calls;
use memory::Memory;
use metrics::Metrics;
use nearest::Nearest;
use positions::Positions;
use reading::Reading;
use starts::Starts;
use stores::Stores;
use subscriptions::Subscriptions;
use table::Table;
use tools::Tools;
use topics::Topics;

/// Starts a pop server. It has no state to read.
///
/// # Errors
/// [`StartError`] when the options are invalid.
#[allow(clippy::unused_async, reason = "every service starts the same way")]
pub async fn start(
    host: Host,
    options: Options,
    shutdown: Shutdown,
    metrics: &mut Registry,
) -> Result<Service, StartError> {
    options.validate()?;
    let metrics = Metrics::new(metrics);
    let nearest = Nearest::new(host.clone());
    let topics = Topics::new(nearest.clone(), options.topic_known_for);
    let positions = Positions::new(nearest.clone());
    let stores = Stores::new(nearest, metrics.clone());
    let table = Table::new(options.dispatched_max, metrics.dispatched.clone());
    let dispatch = Dispatch::new(Tools {
        host: host.clone(),
        positions: positions.clone(),
        stores: stores.clone(),
        topics: topics.clone(),
        table: table.clone(),
        memory: Memory::new(options.held_bytes_max.bytes()),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
        idle_after: options.idle_after,
    });
    let starts = Starts::new(stores.clone());
    let administration = Administration {
        topics: topics.clone(),
        positions: positions.clone(),
        starts: starts.clone(),
        dispatch: dispatch.clone(),
    };
    let subscriptions = Subscriptions {
        topics: topics.clone(),
        positions,
        stores: stores.clone(),
        starts: starts.clone(),
        dispatch: dispatch.clone(),
        auto_create_topics: options.auto_create_topics,
    };
    let calls = Arc::new(Calls {
        host,
        shutdown: shutdown.clone(),
        topics: topics.clone(),
        dispatch: dispatch.clone(),
        subscriptions,
        administration,
        reading: Reading { topics, stores, starts },
        metrics,
    });
    let ready = shutdown.clone();
    Ok(Service {
        internal: grpc::internal(&calls),
        public: grpc::public(&calls),
        status: Arc::new(move || status(&table)),
        ready: Arc::new(move || !ready.is_draining()),
        drained: Box::pin(async move {
            shutdown.draining().await;
            dispatch.release_all().await;
        }),
    })
}

fn status(table: &Table) -> GetStatusResponse {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let dispatched = *table.count().borrow() as f64;
    let figures = [("dispatched".to_owned(), dispatched)].into();
    GetStatusResponse { figures, ..GetStatusResponse::default() }
}
