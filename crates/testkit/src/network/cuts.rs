//! Which links are cut, and since when.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use trunkline_types::{DatacenterName, hash64};

/// Where a node is: its name and its datacenter.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) datacenter: DatacenterName,
    /// Of its name.
    pub(crate) hash: u64,
    /// The same for the same name and datacenter, as is the datacenter's own: every message looks something up by them.
    pub(crate) number: u32,
    pub(crate) datacenter_number: u32,
}

/// All places of a network.
#[derive(Debug, Default)]
pub(crate) struct Places {
    places: Vec<Arc<Place>>,
    datacenters: Vec<DatacenterName>,
}

impl Places {
    pub(crate) fn place(&mut self, name: &str, datacenter: &DatacenterName) -> Arc<Place> {
        let same = |place: &&Arc<Place>| place.name == name && place.datacenter == *datacenter;
        if let Some(place) = self.places.iter().find(same) {
            return place.clone();
        }
        let place = Arc::new(Place {
            name: name.to_owned(),
            datacenter: datacenter.clone(),
            hash: hash64(name.as_bytes()),
            number: count(self.places.len()),
            datacenter_number: self.datacenter(datacenter),
        });
        self.places.push(place.clone());
        place
    }

    pub(crate) fn datacenter(&mut self, name: &DatacenterName) -> u32 {
        let known = self.datacenters.iter().position(|datacenter| datacenter == name);
        count(known.unwrap_or_else(|| {
            self.datacenters.push(name.clone());
            self.datacenters.len() - 1
        }))
    }
}

fn count(places: usize) -> u32 {
    u32::try_from(places).expect("far fewer places than that")
}

/// One end of a cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Node(String),
    Datacenter(DatacenterName),
    /// Everyone but the other end.
    Others,
}

impl Side {
    pub fn node(name: impl Into<String>) -> Self {
        Self::Node(name.into())
    }

    pub fn datacenter(name: &str) -> Self {
        Self::Datacenter(name.into())
    }

    /// Whether a message from `from` to `to` goes from `a` to `b`.
    pub(crate) fn join(a: &Self, b: &Self, from: &Place, to: &Place) -> bool {
        a.holds(from, b) && b.holds(to, a)
    }

    fn holds(&self, place: &Place, other: &Self) -> bool {
        match self {
            Self::Node(name) => place.name == *name,
            Self::Datacenter(datacenter) => place.datacenter == *datacenter,
            Self::Others => !matches!(other, Self::Others) && !other.holds(place, self),
        }
    }
}

/// The cuts in force, by direction.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    since: BTreeMap<(Side, Side), Instant>,
}

impl Cuts {
    pub(crate) fn cut(&mut self, from: &Side, to: &Side, now: Instant) {
        self.since.entry((from.clone(), to.clone())).or_insert(now);
    }

    pub(crate) fn heal(&mut self, which: impl Fn(&Side, &Side) -> bool) {
        self.since.retain(|(from, to), _| !which(from, to));
    }

    /// Since when nothing goes from `from` to `to`; `None` while it does.
    pub(crate) fn since(&self, from: &Place, to: &Place) -> Option<Instant> {
        let cut = |(a, b): &(Side, Side)| Side::join(a, b, from, to);
        self.since.iter().filter(|(ends, _)| cut(ends)).map(|(_, since)| *since).min()
    }

    /// The same for either direction.
    pub(crate) fn since_either_way(&self, a: &Place, b: &Place) -> Option<Instant> {
        [self.since(a, b), self.since(b, a)].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datacenter_that_is_cut_off_still_talks_within_itself() {
        let mut places = Places::default();
        let mut place = |name: &str, datacenter: &str| places.place(name, &datacenter.into());
        let (a, b, c) = (place("sea-1", "sea"), place("sea-2", "sea"), place("nyc-1", "nyc"));
        let mut cuts = Cuts::default();
        cuts.cut(&Side::datacenter("sea"), &Side::Others, Instant::now());
        assert!(cuts.since(&a, &c).is_some() && cuts.since(&a, &b).is_none() && cuts.since(&c, &a).is_none());
        assert!(cuts.since_either_way(&c, &a).is_some());
        cuts.heal(|from, _| *from == Side::datacenter("sea"));
        assert!(cuts.since(&a, &c).is_none());
        cuts.cut(&Side::node("sea-1"), &Side::Others, Instant::now());
        assert!(cuts.since(&a, &b).is_some() && cuts.since(&b, &c).is_none());
    }
}
