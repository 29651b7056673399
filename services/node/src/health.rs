//! `trunkline health`: asks a listener for its health, for scripts and probes.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Network, Peer};
use trunkline_wire::method::Unary;

/// The standard messages, as far as they are needed.
mod proto {
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct HealthCheckRequest {
        #[prost(string, tag = "1")]
        pub(super) service: String,
    }

    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub(super) struct HealthCheckResponse {
        #[prost(int32, tag = "1")]
        pub(super) status: i32,
    }
}

const CHECK: Unary<proto::HealthCheckRequest, proto::HealthCheckResponse> =
    Unary::new("/grpc.health.v1.Health/Check");
const SERVING: i32 = 1;

/// Exit code 0: it is serving. 1: it is not, or does not answer.
#[derive(Clone, Debug, Args)]
pub struct Health {
    /// HOST:PORT of any listener of a node: clients, internal or admin.
    #[arg(long)]
    address: String,
    /// A gRPC service, for example trunkline.v1.PushService; without it the node as a whole.
    #[arg(long, default_value = "")]
    service: String,
    /// How long to wait for an answer.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Health {
    /// # Errors
    /// Says why it is not serving.
    pub async fn check(&self, network: &Network) -> anyhow::Result<()> {
        let request = proto::HealthCheckRequest { service: self.service.clone() };
        let options = CallOptions::until(Instant::now() + self.timeout);
        let peer = Peer::new(self.address.as_str(), Class::Calls);
        let answer = network.call(&peer, CHECK, &request, options).await;
        match answer {
            Ok(answer) if answer.status == SERVING => Ok(()),
            Ok(_) => anyhow::bail!("{} is not serving", self.address),
            Err(error) => anyhow::bail!("{}: {}", self.address, error.message()),
        }
    }
}
