//! Who stands where in `trunkline dev`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use trunkline_transport::Wan;
use trunkline_types::{ClusterMap, Datacenter, DatacenterName, Role};

use crate::known_map::RoundTrips;
use crate::map_file::{FirstNode, MapFile};
use crate::node::Plan;
use crate::refusal::Refusal;

pub(super) const CLUSTER: &str = "dev";
const DATACENTERS: [&str; 3] = ["nyc", "mci", "sea"];
/// Between New York, Kansas City and Seattle, as measured.
const ROUND_TRIPS_MS: [(&str, &str, u32); 3] = [("nyc", "mci", 33), ("nyc", "sea", 70), ("mci", "sea", 72)];
/// From one datacenter's base port to the next one's.
const PORTS_PER_DATACENTER: u16 = 100;
const CLIENTS: u16 = 1;
const ADMIN: u16 = 20;
const NODES: [(Role, &str, u16); 6] = [
    (Role::Push, "push", 2),
    (Role::Pop, "pop", 3),
    (Role::MessageId, "message-id", 4),
    (Role::SubscriptionPosition, "subscription-position", 5),
    (Role::MessageStore, "store-1", 6),
    (Role::MessageStore, "store-2", 7),
];

/// What lies between the datacenters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distance {
    /// The measured round trips.
    Real,
    /// The same round trip between every pair.
    Every(Duration),
}

impl FromStr for Distance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "real" => Ok(Self::Real),
            "none" => Ok(Self::Every(Duration::ZERO)),
            other => humantime::parse_duration(other)
                .ok()
                .filter(|round_trip| *round_trip <= Duration::from_secs(2))
                .map(Self::Every)
                .ok_or_else(|| {
                    format!("{other:?} is neither real, none, nor a round trip of at most 2s like 150ms")
                }),
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real => f.write_str("real"),
            Self::Every(round_trip) if round_trip.is_zero() => f.write_str("none"),
            Self::Every(round_trip) => write!(f, "{}", humantime::format_duration(*round_trip)),
        }
    }
}

impl Distance {
    fn round_trip_ms(self, measured: u32) -> u32 {
        match self {
            Self::Real => measured,
            Self::Every(round_trip) => u32::try_from(round_trip.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// Addresses and directories, all from the flags.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) base_port: u16,
    pub(super) data: PathBuf,
    pub(super) distance: Distance,
}

impl Layout {
    pub(super) fn datacenters(&self) -> impl Iterator<Item = DatacenterName> + use<> {
        DATACENTERS.into_iter().map(DatacenterName::from)
    }

    /// Whether all ports are ports.
    pub(super) fn fits(&self) -> bool {
        self.base_port.checked_add(PORTS_PER_DATACENTER * 2 + ADMIN).is_some()
    }

    fn address(&self, datacenter: &DatacenterName, offset: u16) -> String {
        let index = DATACENTERS.iter().position(|name| *name == datacenter.0).unwrap_or_default();
        let base = self.base_port + PORTS_PER_DATACENTER * u16::try_from(index).unwrap_or_default();
        format!("127.0.0.1:{}", base + offset)
    }

    pub(super) fn clients(&self, datacenter: &DatacenterName) -> String {
        self.address(datacenter, CLIENTS)
    }

    pub(super) fn admin(&self, datacenter: &DatacenterName) -> String {
        self.address(datacenter, ADMIN)
    }

    /// All nodes, datacenter by datacenter.
    pub(super) fn plans(&self) -> Vec<Plan> {
        self.datacenters().flat_map(|datacenter| NODES.map(|node| self.plan(&datacenter, node))).collect()
    }

    fn plan(&self, datacenter: &DatacenterName, (role, name, offset): (Role, &str, u16)) -> Plan {
        let name = format!("{datacenter}-{name}");
        let address = self.address(datacenter, offset);
        let directory = |data: &Path| data.join(&datacenter.0).join(&name);
        Plan {
            role,
            datacenter: datacenter.clone(),
            data: role.is_stateful().then(|| directory(&self.data)),
            listen: address.clone(),
            advertise: address,
            name,
        }
    }

    /// Nodes look for each other where the map says: it must be the map of this layout.
    ///
    /// # Errors
    /// The base port that the data was made with.
    pub(super) fn check(&self, map: &ClusterMap) -> Result<(), Refusal> {
        let data = self.data.display();
        for plan in self.plans() {
            let Some(known) = map.nodes.iter().find(|node| node.name == plan.name) else { continue };
            if known.address != plan.advertise {
                let was = port(&known.address) + i64::from(self.base_port) - port(&plan.advertise);
                return Err(Refusal::new(format!(
                    "the data in {data} was made with --base-port {was}: use that, or another --data"
                )));
            }
        }
        Ok(())
    }

    /// What `cluster init` would be given.
    pub(super) fn map_file(&self) -> MapFile {
        let mut round_trips = self.round_trips();
        let datacenters = self
            .datacenters()
            .map(|name| Datacenter { round_trip_ms: round_trips.remove(&name).unwrap_or_default(), name });
        let stateful = self.plans().into_iter().filter(|plan| plan.role.is_stateful());
        MapFile {
            name: CLUSTER.to_owned(),
            replicas_per_datacenter: 2,
            voters_per_datacenter: 1,
            buckets: 256,
            ordering_groups: 4,
            position_groups: 4,
            datacenters: datacenters.collect(),
            nodes: stateful
                .map(|plan| FirstNode {
                    name: plan.name,
                    role: plan.role,
                    datacenter: plan.datacenter,
                    address: plan.advertise,
                })
                .collect(),
        }
    }

    pub(super) fn round_trips(&self) -> RoundTrips {
        let mut round_trips = RoundTrips::new();
        for (a, b, measured) in ROUND_TRIPS_MS {
            let to: &mut BTreeMap<_, _> = round_trips.entry(a.into()).or_default();
            to.insert(b.into(), self.distance.round_trip_ms(measured));
        }
        round_trips
    }

    /// The delay line of all nodes. There is one even without distance: its links can be cut.
    pub(super) fn wan(&self) -> Wan {
        let pairs = ROUND_TRIPS_MS.map(|(a, b, measured)| {
            let round_trip = Duration::from_millis(self.distance.round_trip_ms(measured).into());
            (a.into(), b.into(), round_trip)
        });
        let wan = Wan::new(pairs, None);
        for plan in self.plans() {
            wan.place(plan.advertise, plan.datacenter);
        }
        wan
    }

    /// Nodes that know the map first, those of `datacenter` before the others.
    pub(super) fn seeds(&self) -> Vec<String> {
        let founders = self.plans().into_iter().filter(|plan| plan.role == Role::MessageId);
        founders.map(|plan| plan.advertise).collect()
    }
}

fn port(address: &str) -> i64 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(distance: &str) -> Layout {
        Layout { base_port: 7100, data: "data".into(), distance: distance.parse().expect("a distance") }
    }

    #[test]
    fn ports_and_directories_are_where_the_documents_say() {
        let layout = layout("real");
        let plans = layout.plans();
        assert_eq!(plans.len(), 18);
        let store = plans.iter().find(|plan| plan.name == "sea-store-2").expect("planned");
        assert_eq!(
            (store.listen.as_str(), store.data.clone()),
            ("127.0.0.1:7307", Some("data/sea/sea-store-2".into()))
        );
        assert_eq!(layout.clients(&"mci".into()), "127.0.0.1:7201");
        assert_eq!(layout.admin(&"nyc".into()), "127.0.0.1:7120");
        assert!(layout.fits() && !Layout { base_port: 65_400, ..layout }.fits());
    }

    #[test]
    fn data_of_another_base_port_is_refused_with_that_port() {
        let ids: Vec<_> = (1..=12).map(trunkline_types::NodeId).collect();
        let made = layout("none");
        let map = made.map_file().map(&ids);
        assert_eq!(made.check(&map), Ok(()));
        assert_eq!(made.check(&ClusterMap::default()), Ok(()));
        let refusal = Layout { base_port: 29_000, ..made }.check(&map).expect_err("refused").to_string();
        assert_eq!(refusal, "the data in data was made with --base-port 7100: use that, or another --data");
    }

    #[test]
    fn the_map_is_valid_at_every_distance() {
        for (distance, worst) in [("real", 72), ("150ms", 150), ("none", 0)] {
            let layout = layout(distance);
            let ids: Vec<_> = (1..=12).map(trunkline_types::NodeId).collect();
            let map = layout.map_file().map(&ids);
            assert_eq!(map.validate(), Ok(()));
            assert_eq!(map.round_trip_worst(), Duration::from_millis(worst));
            assert_eq!(layout.distance.to_string(), distance);
        }
        assert!("far".parse::<Distance>().is_err() && "1h".parse::<Distance>().is_err());
    }
}
