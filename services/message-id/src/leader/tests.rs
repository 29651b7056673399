use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use trunkline_ports::Consensus as _;
use trunkline_runtime::{Shutdown, Ticks};
use trunkline_testkit::fixture::{SimulatedNode, node};
use trunkline_testkit::{MapBuilder, MemoryCluster, Random, SimulatedNetwork};
use trunkline_types::limits::RELAY_QUEUE_MAX;
use trunkline_types::{GroupId, Role};
use trunkline_wire::internal::RelayedFrame;

use super::*;
use crate::clocks::Clocks;
use crate::machine::Machine;
use crate::metrics::Figures;
use crate::options::Options;
use crate::relay::Path;

/// The driver of a voter that leads its group, alone, with so many reports as its queue takes.
async fn overwhelmed() -> (Driver, mpsc::Sender<Relayed>, mpsc::Receiver<Relayed>) {
    let map = MapBuilder::of(&["nyc"]).groups(1, 1).build();
    let network = SimulatedNetwork::new(&Random::new(7));
    let own = node(Role::MessageId, &"nyc".into(), 1);
    let host = SimulatedNode::start(&network, &map, &own, 1).host;
    let figures = Figures::default();
    let (machine, view) = Machine::new(crate::voter::shape(&map, 0), host.process.clone(), figures.clone());
    let consensus = MemoryCluster::new(&map).consensus(own.id);
    let group = consensus.start(GroupId::ordering(0), Box::new(machine)).await.unwrap();
    let (reports, queue) = mpsc::channel(RELAY_QUEUE_MAX);
    let member = Arc::new(Member { number: 0, group, view, reports: reports.clone() });
    let voter = Voter {
        host,
        options: Options::default(),
        shutdown: Shutdown::new(),
        figures,
        clocks: Clocks::new(),
        members: BTreeMap::new(),
        routes: watch::Sender::default(),
        bypassed: watch::Sender::default(),
        links: watch::Sender::default(),
        outgoing: BTreeMap::new(),
        last_path: AtomicU64::new(0),
        confirmations: watch::Sender::default(),
        ticks: Ticks::every(Options::default().assignment_interval),
    };
    let frame = RelayedFrame::default();
    while reports.try_send(Relayed { path: Path::new(1).0, frame: frame.clone() }).is_ok() {}
    (Driver::new(Arc::new(voter), member), reports, queue)
}

#[tokio::test(start_paused = true)]
async fn reports_that_never_end_do_not_hold_up_what_is_due() {
    let (mut driver, _reports, mut queue) = overwhelmed().await;
    driver.leadership_changed();
    assert!(matches!(driver.next(&mut queue).await, Some(Event::Reported(_))), "nothing else is due");
    tokio::time::advance(HELD_INTERVAL).await;
    assert!(matches!(driver.next(&mut queue).await, Some(Event::DutiesDue)));
    driver.duties();
    assert!(matches!(driver.next(&mut queue).await, Some(Event::Reported(_))), "once");
}
