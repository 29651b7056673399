//! What no message can be faster than: a bench that shows less measures something else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One-way delays between datacenters, by (from, to).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Distances(BTreeMap<(String, String), Duration>);

impl Distances {
    pub(super) fn new(ways: impl IntoIterator<Item = (String, String, Duration)>) -> Self {
        let mut shortest: BTreeMap<_, _> =
            ways.into_iter().map(|(from, to, delay)| ((from, to), delay)).collect();
        let names: BTreeSet<String> = shortest.keys().map(|(from, _)| from.clone()).collect();
        // Over a third datacenter it may be shorter (Floyd, Warshall).
        for over in &names {
            for from in &names {
                for to in &names {
                    let leg = |a: &String, b: &String| shortest.get(&(a.clone(), b.clone())).copied();
                    let Some(detour) = leg(from, over).zip(leg(over, to)).map(|(a, b)| a + b) else {
                        continue;
                    };
                    if from != to {
                        let known = shortest.entry((from.clone(), to.clone())).or_insert(detour);
                        *known = (*known).min(detour);
                    }
                }
            }
        }
        Self(shortest)
    }

    fn between(&self, from: &str, to: &str) -> Duration {
        if from == to {
            return Duration::ZERO;
        }
        self.0.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or_default()
    }

    /// The least time from a push in `origin` until a reader in `reader` may have it. Wherever the leader is, it hears from
    /// the origin and from a second datacenter that they have the message, then from one other voter that it has the entry, and
    /// only then tells the reader's datacenter.
    pub(super) fn visible_min(&self, origin: &str, reader: &str) -> Duration {
        let names: BTreeSet<&str> = self.0.keys().map(|(from, _)| from.as_str()).collect();
        let ordered = names.iter().filter_map(|leader| {
            let others = |of: &str| names.iter().filter(|name| **name != of).copied().collect::<Vec<_>>();
            let second = others(origin)
                .into_iter()
                .map(|holder| self.between(origin, holder) + self.between(holder, leader))
                .min()?;
            let voter = others(leader)
                .into_iter()
                .map(|voter| self.between(leader, voter) + self.between(voter, leader))
                .min()?;
            Some(second.max(self.between(origin, leader)) + voter + self.between(leader, reader))
        });
        ordered.min().unwrap_or_default().max(self.between(origin, reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(ways: &[(&str, &str, u64)]) -> Distances {
        let ms = Duration::from_millis;
        let both = ways.iter().flat_map(|(a, b, delay)| [(a, b, ms(*delay)), (b, a, ms(*delay))]);
        Distances::new(both.map(|(a, b, delay)| ((*a).to_owned(), (*b).to_owned(), delay)))
    }

    #[test]
    fn a_message_is_ordered_before_it_is_read() {
        let even = distances(&[("nyc", "mci", 75), ("nyc", "sea", 75), ("mci", "sea", 75)]);
        let real = distances(&[("nyc", "mci", 17), ("nyc", "sea", 35), ("mci", "sea", 36)]);
        let two = distances(&[("nyc", "mci", 10)]);
        for (distances, from, to, ms) in [
            // To the leader, which is a holder, once round for the commit.
            (&even, "nyc", "mci", 225),
            // And back, or by reports to a leader here.
            (&even, "nyc", "nyc", 300),
            (&real, "nyc", "mci", 17 + 34),
            // The leader is in nyc, which is near the second holder.
            (&real, "sea", "nyc", 35 + 34),
            (&real, "nyc", "sea", 17 + 34 + 36),
            (&two, "nyc", "mci", 30),
            (&Distances::default(), "nyc", "mci", 0),
        ] {
            assert_eq!(
                distances.visible_min(from, to),
                Duration::from_millis(ms),
                "{from} to {to} of {distances:?}"
            );
        }
    }

    #[test]
    fn a_detour_that_is_shorter_counts() {
        let bent = distances(&[("a", "b", 10), ("b", "c", 10), ("a", "c", 100)]);
        assert_eq!(bent.between("a", "c"), Duration::from_millis(20));
    }
}
