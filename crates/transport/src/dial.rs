//! Makes a connection to an address: DNS, TCP, the WAN in between, HTTP/2.

use std::io;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Status;
use trunkline_ports::Process;
use trunkline_types::DatacenterName;
use trunkline_types::limits::CONNECT_TIMEOUT;

use crate::connection::{Connection, unreachable};
use crate::delay_line::DelayLine;
use crate::socket::{Dial, Socket};
use crate::wan::{Wan, Ways};

/// Whose connections they are, and how their bytes come and go.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) process: Process,
    pub(crate) dial: Arc<dyn Dial>,
}

impl Dialer {
    pub(crate) async fn connect(&self, address: &Arc<str>) -> Result<Connection, Status> {
        let attempt = async {
            let socket = self.dial.dial(address).await.map_err(|error| unreachable(address, error))?;
            Connection::over(socket, address.clone(), &self.process).await
        };
        match timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unreachable(address, "no answer to a connection attempt")),
        }
    }
}

/// Real sockets, and where a node stands in `wan`, which lies between it and the others in `dev`.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) process: Process,
    pub(crate) datacenter: DatacenterName,
    pub(crate) wan: Option<Arc<Wan>>,
}

impl Dial for Tcp {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Socket>>> {
        let ways = self.wan.as_ref().and_then(|wan| wan.ways(&self.datacenter, address));
        connect(address.to_owned(), ways, self.process.clone()).boxed()
    }
}

async fn connect(address: String, ways: Option<Ways>, process: Process) -> io::Result<Box<dyn Socket>> {
    if let Some((there, back)) = &ways {
        there.handshake(back).await;
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(match ways {
        None => Box::new(stream),
        Some((there, back)) => {
            let (reader, writer) = stream.into_split();
            Box::new(DelayLine::over(reader, writer, there, back, &process))
        }
    })
}
