//! A client among servers that do as they are told.

mod calls;
mod fakes;
mod large;
mod streams;

use std::time::Duration;

use trunkline_testkit::{MapBuilder, Random, SimulatedNetwork};

use crate::{Client, Endpoint, Endpoints, Options};
use fakes::Server;

/// A client in nyc, and a server in nyc, mci and sea: 0, 33 and 70 ms away.
struct World {
    network: SimulatedNetwork,
    servers: Vec<Server>,
    client: Client,
}

impl World {
    fn new() -> Self {
        let network = SimulatedNetwork::new(&Random::new(3));
        network.follow(&MapBuilder::three_datacenters().build());
        let servers: Vec<_> = ["sea", "mci", "nyc"].map(|name| Server::start(&network, name)).into();
        let endpoint = |server: &Server| Endpoint {
            datacenter: server.datacenter.clone(),
            address: server.address.clone(),
        };
        let endpoints = Endpoints::new(servers.iter().map(endpoint).collect()).expect("three");
        let process = network.process("client", &"nyc".into());
        let client =
            Client::new(network.network(&process), process.process(), &endpoints, Options::default());
        Self { network, servers, client }
    }

    fn server(&self, datacenter: &str) -> &Server {
        self.servers.iter().find(|server| server.datacenter == datacenter).expect("one of the three")
    }

    /// Pushes taken by nyc, mci and sea.
    fn taken(&self) -> [usize; 3] {
        ["nyc", "mci", "sea"].map(|name| self.server(name).taken())
    }
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
