//! A listening socket with gRPC behind it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use trunkline_ports::Process;
use trunkline_ports::process::TaskGuard;
use trunkline_types::limits::CONNECTIONS_PER_LISTENER_MAX;

use crate::hosting::Routes;
use crate::listener::door::Entrance;
use crate::socket::{Accept, Socket};

mod door;
mod health;
mod opening;
mod serving;

/// After an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who comes in.
#[derive(Clone, Debug)]
pub enum Door {
    /// Other nodes.
    Internal,
    /// Clients: server reflection; above so many calls under way, more are refused at once.
    Clients { calls_max: usize },
    /// Operators: pages over plain HTTP beside gRPC.
    Admin(Pages),
}

/// Something to read with a browser or a scraper.
#[derive(Clone, Debug)]
pub struct Page {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
}

type FindPage = Arc<dyn Fn(&str) -> Option<Page> + Send + Sync>;

/// Finds the page for a path.
#[derive(Clone)]
pub struct Pages(FindPage);

impl Pages {
    pub fn new(find: impl Fn(&str) -> Option<Page> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("{address} cannot be listened on: {source}")]
pub struct BindError {
    pub address: String,
    pub source: io::Error,
}

/// Listens until it is dropped or drained.
#[derive(Debug)]
pub struct Listener {
    draining: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    accepting: Option<TaskGuard>,
}

/// A socket that is bound and not yet served: whoever connects waits.
#[derive(Debug)]
pub struct Bound(TcpListener);

impl Bound {
    /// # Errors
    /// [`BindError`], for example where the port is taken.
    pub async fn to(address: &str) -> Result<Self, BindError> {
        let bound = TcpListener::bind(address).await;
        bound.map(Self).map_err(|source| BindError { address: address.to_owned(), source })
    }

    /// Where it listens: the port, where 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Accept for Bound {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Socket>>> {
        Box::pin(async {
            let (stream, _) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Socket>)
        })
    }
}

impl Listener {
    /// Serves `routes`. `healthy` is what grpc.health.v1 says; connections and handlers are tasks of `process`.
    pub fn serve(
        bound: impl Accept,
        door: Door,
        routes: Routes,
        healthy: Arc<dyn Fn() -> bool + Send + Sync>,
        process: &Process,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_PER_LISTENER_MAX as usize));
        let draining = watch::Sender::new(false);
        let entrance = Arc::new(Entrance::new(door, routes, healthy, process.clone()));
        let accepting = accept(bound, entrance, connections.clone(), draining.subscribe(), process.clone());
        let accepting = Some(process.spawn("listener", accepting).abort_on_drop());
        Self { draining, connections, accepting }
    }

    /// Takes no more connections, tells those there are to go, and waits for them until `deadline`.
    pub async fn drain(mut self, deadline: Instant) {
        self.accepting = None;
        self.draining.send_replace(true);
        let _ = timeout_at(deadline, self.connections.acquire_many(CONNECTIONS_PER_LISTENER_MAX)).await;
    }
}

async fn accept(
    mut listener: impl Accept,
    entrance: Arc<Entrance>,
    connections: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
    process: Process,
) {
    loop {
        let Ok(connection) = connections.clone().acquire_owned().await else { return };
        let socket = match listener.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let served = serving::serve(socket, entrance.clone(), draining.clone());
        process.spawn("served connection", async move {
            served.await;
            drop(connection);
        });
    }
}
