//! Makes a connection to an address: DNS, TCP, the WAN in between, HTTP/2.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Status;
use trunkline_ports::Process;
use trunkline_types::DatacenterName;
use trunkline_types::limits::CONNECT_TIMEOUT;

use crate::connection::{Connection, unreachable};
use crate::delay_line::DelayLine;
use crate::wan::Wan;

/// Where a node stands, and what lies between it and the others.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) process: Process,
    pub(crate) datacenter: DatacenterName,
    pub(crate) wan: Option<Arc<Wan>>,
}

impl Dialer {
    pub(crate) async fn dial(&self, address: &Arc<str>) -> Result<Connection, Status> {
        match timeout(CONNECT_TIMEOUT, self.connect(address)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unreachable(address, "no answer to a connection attempt")),
        }
    }

    async fn connect(&self, address: &Arc<str>) -> Result<Connection, Status> {
        let ways = self.wan.as_ref().and_then(|wan| wan.ways(&self.datacenter, address));
        if let Some((there, back)) = &ways {
            there.handshake(back).await;
        }
        let stream = TcpStream::connect(&**address).await.map_err(|error| unreachable(address, error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(address, error))?;
        match ways {
            None => Connection::over(stream, address.clone(), &self.process).await,
            Some((there, back)) => {
                let (reader, writer) = stream.into_split();
                let line = DelayLine::over(reader, writer, there, back, &self.process);
                Connection::over(line, address.clone(), &self.process).await
            }
        }
    }
}
