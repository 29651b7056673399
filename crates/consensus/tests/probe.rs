#[path = "cluster/nodes.rs"]
mod nodes;
use std::time::Duration;
use bytes::Bytes;
use nodes::*;
use trunkline_consensus::Options;
use trunkline_testkit::MapBuilder;

#[tokio::test(start_paused = true)]
async fn probe() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).init();
    let mut cluster = Cluster::new(MapBuilder::three_datacenters(), Options { snapshot_entries: 20, entries_kept: 5, ..Options::default() });
    println!("--- start");
    let voters = cluster.start_all().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("--- propose");
    for i in 0..100 {
    voters[i % 3].group.propose(Bytes::from_static(b"x"), within(5000)).await.unwrap();
    }
    println!("--- transfer");
    let l = leader(&voters).await;
    voters[l].group.transfer(voters[(l + 1) % 3].id);
    tokio::time::sleep(Duration::from_secs(3)).await;
    voters[1].group.confirm(within(5000)).await.unwrap();
    println!("--- stop");
    for voter in &voters { voter.stop(); }
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("{:?}", voters[0].group.propose(Bytes::from_static(b"x"), within(5000)).await);
    println!("{:?}", voters[0].group.confirm(within(5000)).await);
    println!("{:?}", voters[0].node.process.task_names());
}
