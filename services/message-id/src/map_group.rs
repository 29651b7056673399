//! Group 0: the cluster map. Its entries are whole maps as JSON; only a newer version replaces the one in force.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_ports::{Group, Host, Process, StateMachine};
use trunkline_runtime::{Backoff, Shutdown};
use trunkline_types::ClusterMap;

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

    #[tokio::test]
    async fn a_replacement_survives_the_form_in_which_it_is_committed() {
        let process = SimulatedProcess::alone(1);
        let (mut machine, known) = MapMachine::new(process.process());
        let first = map(1, 7);
        let old = first.nodes[0].clone();
        let new = trunkline_types::Node { id: trunkline_types::NodeId(5), ..old.clone() };
        let begun = first.replace(old.id, new).unwrap().unwrap();
        let done = begun.replacement_done().unwrap();
        for (index, map) in (1..).zip([first, begun, done]) {
            machine.apply(index, &serde_json::to_vec(&map).unwrap());
            assert_eq!(known.borrow().as_deref(), Some(&map));
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
