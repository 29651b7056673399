#[path = "cluster/nodes.rs"]
mod nodes;
use std::sync::Arc;
use std::time::Duration;
use bytes::Bytes;
use nodes::*;
use tokio::sync::watch;
use trunkline_consensus::Options;
use trunkline_ports::{Consensus as _, Group, Host, Identity, Network};
use trunkline_runtime::OsProcess;
use trunkline_testkit::{MapBuilder, MemoryStorage};
use trunkline_transport::{Bound, Door, GrpcTransport, Listener, Routes, Wan};
use trunkline_types::{Boot, GroupId, Role};

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn probe() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_ansi(false).init();
    let rtt: u32 = std::env::var("RTT").map(|r| r.parse().unwrap()).unwrap_or(150);
    let mut map = MapBuilder::three_datacenters().round_trips(rtt).build();
    let trips = [("nyc", "mci"), ("nyc", "sea"), ("mci", "sea")].map(|(a, b)| (a.into(), b.into(), Duration::from_millis(rtt.into())));
    let wan = Arc::new(Wan::new(trips, None));
    let mut bounds = vec![];
    for node in map.nodes.iter_mut().filter(|n| n.role == Role::MessageId) {
        let bound = Bound::to("127.0.0.1:0").await.unwrap();
        node.address = bound.address().unwrap().to_string();
        wan.place(node.address.clone(), node.datacenter.clone());
        bounds.push(bound);
    }
    let map = Arc::new(map);
    let ids: Vec<_> = map.nodes_of(Role::MessageId).map(|n| n.id).collect();
    let mut groups: Vec<Vec<Arc<dyn Group>>> = vec![vec![]; 1];
    let mut keep = vec![];
    for (node, bound) in map.nodes_of(Role::MessageId).zip(bounds) {
        let os = OsProcess::new(|why| panic!("{why}"));
        let process = os.process();
        let identity = Identity { node: node.id, boot: Boot { counter: 1, random: 1 }, role: node.role, datacenter: node.datacenter.clone(), address: node.address.clone(), name: node.name.clone() };
        let (tx, rx) = watch::channel(map.clone());
        let host = Host { identity: Arc::new(identity), process: process.clone(), network: Network::new(GrpcTransport::new(process.clone(), node.datacenter.clone(), Some(wan.clone()))), map: rx };
        let storage = Arc::new(MemoryStorage::new().with_sync_latency(Duration::from_millis(2)));
        let (consensus, router) = trunkline_consensus::open(host, storage, Options::default(), std::future::pending()).await.unwrap();
        let listener = Listener::serve(bound, Door::Internal, Routes::starting(router), Arc::new(|| true), &process).unwrap();
        for number in 0..1 {
            groups[number as usize].push(consensus.start(GroupId::ordering(number), Box::new(Ledger::default())).await.unwrap());
        }
        keep.push((tx, listener, consensus, os));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for members in &groups { 
        let first = trunkline_placement::voters(&map, members[0].id())[0].id;
        let i = ids.iter().position(|id| *id == first).unwrap();
        members[i].initialize(ids.clone()).await.unwrap(); }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cpu();
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("rtt {rtt} idle: {:.2} % of a core", (cpu() - before) / 0.2);
    let before = cpu();
    let mut joins = vec![];
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for number in 0..7 * 100 * 2_u64 {
        let members = &groups[(number % 1) as usize];
        let leader = members.iter().find(|m| m.leadership().borrow().is_here).expect("leader").clone();
        let (s, r) = tokio::sync::oneshot::channel();
        keep[0].3.process().spawn("x", async move {
            let start = tokio::time::Instant::now();
            leader.propose(Bytes::from(vec![1; 60]), within(5000)).await.unwrap();
            let _ = s.send(start.elapsed());
        });
        joins.push(r);
        if number % 7 == 6 { tick.tick().await; }
    }
    let mut all = vec![];
    for j in joins { all.push(j.await.unwrap()); }
    all.sort();
    println!("rtt {rtt} 700/s: {:.2} % of a core, p50 {:?} p99 {:?} max {:?}", (cpu() - before) / 0.2, all[all.len()/2], all[all.len()*99/100], all[all.len()-1]);
    tokio::time::sleep(Duration::from_secs(1)).await; println!("KILL");
    let group = &groups[0];
    let leader = group.iter().position(|m| m.leadership().borrow().is_here).unwrap();
    let other = group[(leader + 1) % 3].clone();
    let (_tx, listener, _c, os) = keep.remove(leader);
    drop(listener);
    os.kill().await;
    let start = tokio::time::Instant::now();
    for m in group.iter().cloned() {
        keep[0].3.process().spawn("w", async move { let mut l = m.leadership(); loop { println!("{:?} {:?} applied {}", start.elapsed(), *l.borrow_and_update(), *m.applied().borrow()); if l.changed().await.is_err() { return } } });
    }
    let mut unknown = 0;
    loop {
        match other.propose(Bytes::from_static(b"after"), within(5000)).await { Ok(_) => break, Err(e) => { unknown += 1; println!("{e} after {:?}", start.elapsed()) } }
    }
    println!("failover: committed after {:?}, {unknown} unknown", start.elapsed());
}
