//! Clients over gRPC, and a load on them.

use std::sync::Arc;
use std::time::Duration;

use trunkline_client::{Endpoint, Endpoints, Options};
use trunkline_ports::Network;
use trunkline_runtime::OsProcess;
use trunkline_testkit::{Client, Load};
use trunkline_transport::GrpcTransport;

/// Between two pushes of one publisher: enough for a load, little enough for two cores.
const PACE: Duration = Duration::from_millis(5);

fn process() -> OsProcess {
    OsProcess::new(|why| panic!("the client's process ends: {why}"))
}

/// A client of the datacenter `name`; see [`Client::new`].
pub fn client(name: &str, push: &str, pop: &str) -> Client {
    let network = Network::new(GrpcTransport::new(process().process(), name.into(), None));
    Client::new(name, network, push, pop)
}

/// The Rust client of these datacenters, with their addresses for pushes.
pub fn rust_client(clients: &[Client], options: Options) -> trunkline_client::Client {
    let endpoint =
        |at: &Client| Endpoint { datacenter: at.name().to_owned(), address: at.address().to_owned() };
    let endpoints = Endpoints::new(clients.iter().map(endpoint).collect()).expect("at least one");
    let process = process().process();
    let network = Network::new(GrpcTransport::new(process.clone(), clients[0].name().into(), None));
    trunkline_client::Client::new(network, process, &endpoints, options)
}

/// A publisher and a consumer at each of `clients`, until it is dropped.
pub async fn load(topic: &str, clients: &[Client]) -> Load {
    Load::start(&process().process(), topic, clients, PACE, Arc::new(|_| ())).await
}
