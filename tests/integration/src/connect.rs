//! Clients over gRPC, and a load on them.

use std::sync::Arc;
use std::time::Duration;

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

/// A publisher and a consumer at each of `clients`, until it is dropped.
pub async fn load(topic: &str, clients: &[Client]) -> Load {
    Load::start(&process().process(), topic, clients, PACE, Arc::new(|_| ())).await
}
