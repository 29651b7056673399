#[path = "cluster/nodes.rs"]
mod nodes;
use std::time::Duration;
use bytes::Bytes;
use nodes::*;
use tokio::time::Instant;
use trunkline_consensus::Options;
use trunkline_testkit::MapBuilder;

struct Clock(Instant);
impl tracing_subscriber::fmt::time::FormatTime for Clock {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{:?}", self.0.elapsed().as_millis())
    }
}

#[tokio::test(start_paused = true)]
async fn probe() {
    let start = Instant::now();
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_timer(Clock(start)).with_ansi(false).init();
    let options = Options { balance_interval: Duration::ZERO, ..Options::default() };
    let mut cluster = Cluster::new(MapBuilder::three_datacenters().round_trips(150), options);
    let mut voters = cluster.start_all().await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let leading = leader(&voters).await;
    voters[leading].group.propose(Bytes::from_static(b"x"), within(1000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let crashed = voters.remove(leading);
    crashed.node.process.crash();
    println!("CRASH at {}", start.elapsed().as_millis());
    let leading = leader(&voters).await;
    println!("LEADER at {}", start.elapsed().as_millis());
    voters[leading].group.propose(Bytes::from_static(b"x"), within(5000)).await.unwrap();
    println!("COMMITTED at {}", start.elapsed().as_millis());
}
