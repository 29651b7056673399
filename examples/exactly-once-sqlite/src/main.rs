//! Adds up what a topic says, in SQLite: each message counts exactly once, whenever this program is killed.
//!
//! A message says how much (its payload) goes to which account (its key). The program reads on from a position that
//! it keeps in its own database, in the transaction that changes the balances: either both are there or neither. No
//! subscription is needed, for nobody else has to know how far it is.
//!
//! ```text
//! trunkline push payments 12 --key alice
//! cargo run --release --bin exactly-once-sqlite -- payments balances.db
//! ```

mod ledger;

use std::time::Duration;

use anyhow::{Context as _, bail};
use ledger::Ledger;
use trunkline_client::{Client, Endpoints, Options};
use trunkline_ports::Network;
use trunkline_runtime::OsProcess;
use trunkline_transport::GrpcTransport;

/// Messages in one transaction, at most.
const AT_ONCE: u32 = 100;
/// How long to wait for the next message.
const WAIT: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(topic), Some(file)) = (arguments.next(), arguments.next()) else {
        bail!("usage: exactly-once-sqlite TOPIC DATABASE");
    };
    let client = client()?;
    let mut ledger = Ledger::open(&file)?;
    loop {
        let place = ledger.place(&topic)?;
        let page = client.read(&topic, place.next, AT_ONCE, WAIT).await?;
        // A topic that was deleted and created again counts its messages from 1 again.
        if place.topic_id != 0 && place.topic_id != page.topic_id {
            bail!("{topic} is another topic than the one that {file} has read: begin a new database");
        }
        // These will never come: whoever must not miss a message has to know.
        if let Some(expired) = page.expired.first() {
            bail!("messages {} to {} of {topic} have expired", expired.from, expired.to - 1);
        }
        ledger.apply(&topic, &page)?;
    }
}

fn client() -> anyhow::Result<Client> {
    let endpoints = match std::env::var("TRUNKLINE_ENDPOINTS") {
        Ok(endpoints) => endpoints.parse().context("TRUNKLINE_ENDPOINTS")?,
        Err(_) => Endpoints::of_dev(),
    };
    let process = OsProcess::new(|why| panic!("{why}")).process();
    let network = Network::new(GrpcTransport::new(process.clone(), "nyc".into(), None));
    Ok(Client::new(network, process, &endpoints, Options::default()))
}
