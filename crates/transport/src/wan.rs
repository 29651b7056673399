//! The distances between the datacenters of `dev`: one for all nodes of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use trunkline_types::DatacenterName;

/// One direction between two datacenters.
#[derive(Debug)]
pub(crate) struct Way {
    /// Half of the round trip.
    delay: Duration,
    /// Bytes per second that one connection gets through; `None` is as many as come.
    rate: Option<u64>,
    cut: watch::Sender<bool>,
    bytes: AtomicU64,
}

impl Way {
    pub(crate) fn new(delay: Duration, rate: Option<u64>) -> Self {
        Self { delay, rate, cut: watch::Sender::new(false), bytes: AtomicU64::new(0) }
    }

    /// When bytes that are sent `now` arrive, after others that are due at `after`.
    pub(crate) fn due(&self, now: Instant, after: Instant, bytes: usize) -> Instant {
        let Some(rate) = self.rate else {
            return (now + self.delay).max(after);
        };
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
        (now + self.delay).max(after) + Duration::from_nanos(nanos)
    }

    /// Resolves once bytes get through.
    pub(crate) async fn whole(&self) {
        let mut cut = self.cut.subscribe();
        // The sender lives in self: it cannot be gone.
        let _ = cut.wait_for(|cut| !cut).await;
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.send_if_modified(|was| std::mem::replace(was, cut) != cut);
    }

    /// The time that a TCP handshake takes: for ever while either direction is cut.
    pub(crate) async fn handshake(&self, back: &Self) {
        self.whole().await;
        sleep(self.delay).await;
        back.whole().await;
        sleep(back.delay).await;
    }
}

/// There and back.
pub(crate) type Ways = (Arc<Way>, Arc<Way>);

/// What went from one datacenter to another since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WanBytes {
    pub from: DatacenterName,
    pub to: DatacenterName,
    pub bytes: u64,
    /// One way.
    pub delay: Duration,
}

/// Datacenters, the ways between them, and which address is in which.
#[derive(Debug)]
pub struct Wan {
    ways: BTreeMap<(DatacenterName, DatacenterName), Arc<Way>>,
    places: RwLock<BTreeMap<String, DatacenterName>>,
    cut: Mutex<BTreeSet<DatacenterName>>,
}

impl Wan {
    /// `round_trips` names each pair of datacenters once. `bytes_per_second` limits each direction of a connection.
    pub fn new(
        round_trips: impl IntoIterator<Item = (DatacenterName, DatacenterName, Duration)>,
        bytes_per_second: Option<u64>,
    ) -> Self {
        let mut ways = BTreeMap::new();
        for (a, b, round_trip) in round_trips {
            for pair in [(a.clone(), b.clone()), (b, a)] {
                ways.insert(pair, Arc::new(Way::new(round_trip / 2, bytes_per_second)));
            }
        }
        Self { ways, places: RwLock::default(), cut: Mutex::default() }
    }

    /// Says in which datacenter an address is.
    pub fn place(&self, address: impl Into<String>, datacenter: DatacenterName) {
        self.places.write().unwrap_or_else(PoisonError::into_inner).insert(address.into(), datacenter);
    }

    /// The ways to an address and back; `None` within a datacenter.
    pub(crate) fn ways(&self, from: &DatacenterName, address: &str) -> Option<Ways> {
        let to = self.places.read().unwrap_or_else(PoisonError::into_inner).get(address)?.clone();
        let there = self.ways.get(&(from.clone(), to.clone()))?;
        let back = self.ways.get(&(to, from.clone()))?;
        Some((there.clone(), back.clone()))
    }

    /// Cuts a datacenter off from the others: bytes stall, also those under way. `false`: there is no such datacenter.
    pub fn cut(&self, datacenter: &DatacenterName) -> bool {
        self.change(datacenter, |cut| {
            cut.insert(datacenter.clone());
        })
    }

    /// Makes its links whole again, but for those to others that are cut off. `false`: there is no such datacenter.
    pub fn heal(&self, datacenter: &DatacenterName) -> bool {
        self.change(datacenter, |cut| {
            cut.remove(datacenter);
        })
    }

    fn change(
        &self,
        datacenter: &DatacenterName,
        change: impl FnOnce(&mut BTreeSet<DatacenterName>),
    ) -> bool {
        if !self.ways.keys().any(|(from, _)| from == datacenter) {
            return false;
        }
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut cut);
        for ((from, to), way) in &self.ways {
            way.set_cut(cut.contains(from) || cut.contains(to));
        }
        true
    }

    /// Which datacenters are cut off.
    pub fn cut_off(&self) -> BTreeSet<DatacenterName> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By pair, in order of name.
    pub fn bytes(&self) -> Vec<WanBytes> {
        let row = |((from, to), way): (&(DatacenterName, DatacenterName), &Arc<Way>)| WanBytes {
            from: from.clone(),
            to: to.clone(),
            bytes: way.bytes.load(Ordering::Relaxed),
            delay: way.delay,
        };
        self.ways.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wan() -> Wan {
        let pair = |a: &str, b: &str, ms| (a.into(), b.into(), Duration::from_millis(ms));
        let wan = Wan::new([pair("nyc", "mci", 33), pair("nyc", "sea", 70), pair("mci", "sea", 72)], None);
        wan.place("127.0.0.1:7304", "sea".into());
        wan.place("127.0.0.1:7204", "mci".into());
        wan
    }

    fn is_cut(wan: &Wan, from: &str, to: &str) -> bool {
        *wan.ways[&(from.into(), to.into())].cut.borrow()
    }

    #[test]
    fn each_way_takes_half_of_the_round_trip_and_none_lies_within_a_datacenter() {
        let wan = wan();
        let (there, back) = wan.ways(&"nyc".into(), "127.0.0.1:7304").expect("sea is another datacenter");
        assert_eq!((there.delay, back.delay), (Duration::from_millis(35), Duration::from_millis(35)));
        assert!(wan.ways(&"sea".into(), "127.0.0.1:7304").is_none());
        assert!(wan.ways(&"nyc".into(), "127.0.0.1:9").is_none());
    }

    #[test]
    fn healing_one_of_two_leaves_the_link_between_them_cut() {
        let wan = wan();
        assert!(wan.cut(&"sea".into()) && wan.cut(&"mci".into()) && wan.heal(&"sea".into()));
        assert!(is_cut(&wan, "sea", "mci") && is_cut(&wan, "mci", "nyc"));
        assert!(!is_cut(&wan, "sea", "nyc"));
        assert!(!wan.cut(&"lax".into()));
    }

    #[test]
    fn a_rate_spreads_bytes_over_time() {
        let now = Instant::now();
        let way = Way::new(Duration::from_millis(10), Some(1_000));
        let first = way.due(now, now, 100);
        assert_eq!(first - now, Duration::from_millis(110));
        assert_eq!(way.due(now, first, 50) - now, Duration::from_millis(160));
        let fast = Way::new(Duration::from_millis(10), None);
        assert_eq!(fast.due(now, now, 1_000_000) - now, Duration::from_millis(10));
    }
}
