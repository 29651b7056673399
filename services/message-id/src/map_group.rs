//! Group 0: the cluster map. Its entries are whole maps as JSON; only a newer version replaces the one in force.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_ports::{Group, Host, Process, StateMachine};
use trunkline_runtime::{Backoff, Shutdown};
use trunkline_types::{ClusterMap, DatacenterName};
use trunkline_wire::Status;
use trunkline_wire::internal::{OrderDeclareDatacenterRequest, OrderDeclareDatacenterResponse};
use trunkline_wire::status::{self, reason};

use crate::member::refused;

/// The map in force, once group 0 has one.
pub(crate) type Known = Option<Arc<ClusterMap>>;

const PROPOSAL_DEADLINE: Duration = Duration::from_secs(5);

pub(crate) struct MapMachine {
    map: watch::Sender<Known>,
    process: Process,
}

impl MapMachine {
    pub(crate) fn new(process: Process) -> (Self, watch::Receiver<Known>) {
        let (map, known) = watch::channel(None);
        (Self { map, process }, known)
    }

    fn take(&mut self, newer: ClusterMap) -> bool {
        let taken = self
            .map
            .borrow()
            .as_ref()
            .is_none_or(|known| known.version < newer.version && known.cluster == newer.cluster);
        if taken {
            self.map.send_replace(Some(Arc::new(newer)));
        }
        taken
    }
}

impl StateMachine for MapMachine {
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes {
        let taken = match serde_json::from_slice(entry) {
            Ok(map) => self.take(map),
            Err(error) => {
                self.process.refuse(&format!("entry {index} of the map's group cannot be applied: {error}"));
                false
            }
        };
        Bytes::copy_from_slice(&[u8::from(taken)])
    }

    fn snapshot(&self) -> Bytes {
        let map = self.map.borrow();
        Bytes::from(serde_json::to_vec(&map.as_deref()).expect("a map is plain data"))
    }

    fn restore(&mut self, _index: u64, snapshot: &[u8]) -> Result<(), String> {
        let map: Option<ClusterMap> = serde_json::from_slice(snapshot).map_err(|error| error.to_string())?;
        self.map.send_replace(map.map(Arc::new));
        Ok(())
    }
}

/// Proposes the map that this node was started with, until group 0 has one. Only its leader does.
pub(crate) async fn seed(
    host: Host,
    group: Arc<dyn Group>,
    mut known: watch::Receiver<Known>,
    shutdown: Shutdown,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut leadership = group.leadership();
    let seeding = async {
        loop {
            if leadership.wait_for(|leadership| leadership.is_here).await.is_err() {
                return;
            }
            let map = serde_json::to_vec(host.map().as_ref()).expect("a map is plain data");
            if group.propose(map.into(), Instant::now() + PROPOSAL_DEADLINE).await.is_ok() {
                return;
            }
            backoff.wait(&host.process).await;
        }
    };
    let seeded = known.wait_for(Option::is_some);
    tokio::select! {
        biased;
        () = shutdown.stopped() => {}
        _ = seeded => {}
        () = seeding => {}
    }
}

/// A declaration that meets another change of the map is tried again so many times.
const DECLARE_ATTEMPTS: usize = 5;

/// Declares a datacenter lost, or found again, in the map.
///
/// # Errors
/// `FAILED_PRECONDITION` where this is no voter of group 0, `INVALID_ARGUMENT` for a datacenter that is none, or the
/// last one that is not lost; `UNAVAILABLE` without a quorum.
pub(crate) async fn declare(
    map_group: Option<(Arc<dyn Group>, watch::Receiver<Known>)>,
    deadline: Instant,
    request: OrderDeclareDatacenterRequest,
) -> Result<OrderDeclareDatacenterResponse, Status> {
    let no_voter = || status::failed_precondition(reason::STALE, "this is no voter of the map's group");
    let (group, known) = map_group.ok_or_else(no_voter)?;
    for _ in 0..DECLARE_ATTEMPTS {
        group.confirm(deadline).await.map_err(|error| refused(&error))?;
        let map = known.borrow().clone().ok_or_else(no_voter)?;
        let Some(newer) = declared(&map, &DatacenterName(request.datacenter.clone()), request.lost)? else {
            return Ok(OrderDeclareDatacenterResponse { map_version: map.version });
        };
        let entry = serde_json::to_vec(&newer).expect("a map is plain data");
        let committed = group.propose(entry.into(), deadline).await.map_err(|error| refused(&error))?;
        if committed.answer[..] == [1] {
            tracing::info!(datacenter = request.datacenter, lost = request.lost, "a datacenter was declared");
            return Ok(OrderDeclareDatacenterResponse { map_version: newer.version });
        }
    }
    Err(status::unavailable(reason::STALE, "the map is being changed by others"))
}

/// The next map, if it is another one.
fn declared(map: &ClusterMap, name: &DatacenterName, lost: bool) -> Result<Option<ClusterMap>, Status> {
    let mut newer = map.clone();
    let Some(datacenter) = newer.datacenters.iter_mut().find(|datacenter| datacenter.name == *name) else {
        return Err(status::invalid("datacenter", format!("is {:?}, which is not in the map", name.0)));
    };
    if datacenter.lost == lost {
        return Ok(None);
    }
    datacenter.lost = lost;
    newer.version += 1;
    if newer.datacenters.iter().all(|datacenter| datacenter.lost) {
        return Err(status::invalid("datacenter", "is the last one that is not lost"));
    }
    Ok(Some(newer))
}

#[cfg(test)]
mod tests {
    use trunkline_testkit::{MapBuilder, SimulatedProcess};
    use trunkline_types::ClusterId;

    use super::*;

    fn map(version: u64, cluster: u64) -> ClusterMap {
        ClusterMap { version, cluster: ClusterId(cluster), ..MapBuilder::three_datacenters().build() }
    }

    #[tokio::test]
    async fn only_a_newer_map_of_the_same_cluster_replaces_the_one_in_force() {
        let process = SimulatedProcess::alone(1);
        let (mut machine, known) = MapMachine::new(process.process());
        let cases = [(2, 7, true), (2, 7, false), (1, 7, false), (3, 8, false), (3, 7, true)];
        for (index, (version, cluster, taken)) in (1..).zip(cases) {
            let entry = serde_json::to_vec(&map(version, cluster)).unwrap();
            assert_eq!(machine.apply(index, &entry).as_ref(), [u8::from(taken)], "{version} of {cluster}");
        }
        assert_eq!(known.borrow().as_deref(), Some(&map(3, 7)));
        let (mut restored, again) = MapMachine::new(process.process());
        restored.restore(5, &machine.snapshot()).unwrap();
        assert_eq!(again.borrow().as_deref(), Some(&map(3, 7)));
        assert!(restored.restore(6, b"{\"of\": \"a later version\"}").is_err());
    }

    #[test]
    fn a_datacenter_is_declared_lost_and_found_again_and_never_the_last_one() {
        let before = map(1, 7);
        let name = |name: &str| DatacenterName(name.to_owned());
        let lost = declared(&before, &name("sea"), true).unwrap().unwrap();
        assert_eq!((lost.version, lost.datacenters[2].lost), (2, true));
        assert_eq!(declared(&lost, &name("sea"), true), Ok(None), "it is already");
        let found = declared(&lost, &name("sea"), false).unwrap().unwrap();
        assert_eq!(found, ClusterMap { version: 3, ..before });
        let two = declared(&lost, &name("nyc"), true).unwrap().unwrap();
        for (name, problem) in [("mci", "the last one"), ("lax", "not in the map")] {
            let refused = declared(&two, &DatacenterName(name.to_owned()), true).unwrap_err();
            assert!(refused.message().contains(problem), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_map_of_a_later_version_ends_the_process() {
        let process = SimulatedProcess::alone(1);
        let (mut machine, known) = MapMachine::new(process.process());
        machine.apply(1, b"{\"of\": \"a later version\"}");
        assert!(known.borrow().is_none());
        assert!(process.why_ended().is_some_and(|why| why.contains("entry 1 of the map's group")));
    }
}
