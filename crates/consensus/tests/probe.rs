#[path = "cluster/nodes.rs"]
mod nodes;
use std::time::Duration;
use bytes::Bytes;
use nodes::*;
use trunkline_consensus::Options;
use trunkline_ports::Consensus as _;
use trunkline_testkit::MapBuilder;
use trunkline_types::GroupId;

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(start_paused = true)]
async fn probe() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).init();
    for rtt in [72, 150] {
    let options = Options { balance_interval: Duration::ZERO, ..Options::default() };
    let mut cluster = Cluster::new(if rtt == 150 { MapBuilder::three_datacenters().round_trips(150) } else { MapBuilder::three_datacenters() }, options);
    let voters = cluster.start_all().await;
    let mut groups = vec![];
    for number in 1..9 {
        let mut members = vec![];
        for voter in &voters {
            members.push(voter.consensus.start(GroupId::ordering(number), Box::new(Ledger::default())).await.unwrap());
        }
        members[0].initialize(cluster.ids()).await.unwrap();
        groups.push(members);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut flips = voters[0].group.leadership();
    flips.mark_unchanged();
    let (before, messages) = (cpu(), cluster.network.deliveries());
    tokio::time::sleep(Duration::from_secs(120)).await;
    println!("rtt {rtt} idle: {:.2} % of a core, {} messages/s, leadership changed {:?}", (cpu() - before) / 1.2, (cluster.network.deliveries() - messages) / 120, flips.has_changed());
    let (before, messages) = (cpu(), cluster.network.deliveries());
    let mut worst = Duration::ZERO;
    let mut joins = vec![];
    for number in 0..723 * 30_u64 {
        let members = &groups[(number % 8) as usize];
        let leader = members.iter().find(|m| m.leadership().borrow().is_here).unwrap().clone();
        let (s, r) = tokio::sync::oneshot::channel();
        voters[0].node.host.process.spawn("x", async move {
            let start = tokio::time::Instant::now();
            leader.propose(Bytes::from(vec![1; 60]), within(5000)).await.unwrap();
            let _ = s.send(start.elapsed());
        });
        joins.push(r);
        if number % 7 == 6 { tokio::time::sleep(Duration::from_millis(if number % 723 < 300 {9} else {10})).await; }
    }
    for j in joins { worst = worst.max(j.await.unwrap()); }
    println!("rtt {rtt} 723/s: {:.2} % of a core, {} messages/s, worst {worst:?}", (cpu() - before) / 0.3, (cluster.network.deliveries() - messages) / 30);
    }
}
