//! Exact sets of integers as sorted, disjoint, non-adjacent half-open ranges.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of `u64` kept as half-open ranges. Memory grows with the number of ranges, never with their length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntervalSet {
    /// start → end, disjoint and not adjacent.
    ranges: BTreeMap<u64, u64>,
}

impl IntervalSet {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranges it takes to say the set.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// How many integers are in the set.
    pub fn len(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    pub fn contains(&self, value: u64) -> bool {
        self.ranges.range(..=value).next_back().is_some_and(|(_, &end)| value < end)
    }

    /// Whether every integer of `range` is in the set; true for an empty range.
    pub fn contains_range(&self, range: Range<u64>) -> bool {
        range.is_empty()
            || self.ranges.range(..=range.start).next_back().is_some_and(|(_, &end)| range.end <= end)
    }

    /// The first integer at or above `from` that is not in the set.
    pub fn first_missing(&self, from: u64) -> u64 {
        match self.ranges.range(..=from).next_back() {
            Some((_, &end)) if from < end => end,
            _ => from,
        }
    }

    /// The largest integer in the set.
    pub fn last(&self) -> Option<u64> {
        self.ranges.iter().next_back().map(|(_, &end)| end - 1)
    }

    /// Adds `range`; returns how many integers of it are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (mut start, mut end) = (range.start, range.end);
        let mut known = 0;
        let first = match self.ranges.range(..=start).next_back() {
            Some((&before, &its_end)) if its_end >= start => before,
            _ => start,
        };
        let touched: Vec<(u64, u64)> = self.ranges.range(first..=end).map(|(&s, &e)| (s, e)).collect();
        for (s, e) in touched {
            self.ranges.remove(&s);
            known += e.min(range.end).saturating_sub(s.max(range.start));
            start = start.min(s);
            end = end.max(e);
        }
        self.ranges.insert(start, end);
        (range.end - range.start) - known
    }

    /// Takes every integer below `bound` out of the set.
    pub fn remove_below(&mut self, bound: u64) {
        while let Some((&start, &end)) = self.ranges.iter().next() {
            if start >= bound {
                return;
            }
            self.ranges.remove(&start);
            if end > bound {
                self.ranges.insert(bound, end);
                return;
            }
        }
    }

    /// Takes every integer of `range` out of the set.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let before = self.ranges.range(..range.start).next_back().map(|(&start, &end)| (start, end));
        if let Some((start, end)) = before.filter(|(_, end)| *end > range.start) {
            self.ranges.insert(start, range.start);
            if end > range.end {
                self.ranges.insert(range.end, end);
            }
        }
        while let Some((&start, &end)) = self.ranges.range(range.clone()).next() {
            self.ranges.remove(&start);
            if end > range.end {
                self.ranges.insert(range.end, end);
            }
        }
    }

    /// The parts of `range` that are not in the set, in order.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let from = self.first_missing(at);
            if from >= range.end {
                break;
            }
            let until =
                self.ranges.range(from..).next().map_or(range.end, |(&start, _)| start.min(range.end));
            gaps.push(from..until);
            at = until;
        }
        gaps
    }
}

impl FromIterator<Range<u64>> for IntervalSet {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(ranges: T) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(
            ranges in prop::collection::vec((0u64..60, 0u64..12), 0..30), bound in 0u64..80, probe in 0u64..80,
            removed in (0u64..70, 0u64..20),
        ) {
            let (mut set, mut plain) = (IntervalSet::new(), BTreeSet::new());
            for (start, length) in ranges {
                let fresh = (start..start + length).filter(|n| plain.insert(*n)).count() as u64;
                prop_assert_eq!(set.insert(start..start + length), fresh);
            }
            let gaps: Vec<u64> = set.missing(5..50).into_iter().flatten().collect();
            let expected: Vec<u64> = (5..50).filter(|n| !plain.contains(n)).collect();
            prop_assert_eq!(gaps, expected);
            prop_assert_eq!(set.contains(probe), plain.contains(&probe));
            prop_assert_eq!(set.first_missing(probe), (probe..).find(|n| !plain.contains(n)).unwrap());
            prop_assert_eq!(set.len(), plain.len() as u64);
            prop_assert_eq!(set.last(), plain.last().copied());
            set.remove(probe..bound);
            plain.retain(|n| !(probe..bound).contains(n));
            prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            set.remove_below(bound);
            plain.retain(|n| *n >= bound);
            prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), plain.into_iter().collect::<Vec<_>>());
            let mut rest = set.clone();
            rest.remove(removed.0..removed.0 + removed.1);
            let kept = |n: &u64| !(removed.0..removed.0 + removed.1).contains(n);
            let expected: Vec<u64> = set.iter().flatten().filter(kept).collect();
            prop_assert_eq!(rest.iter().flatten().collect::<Vec<_>>(), expected);
            let starts: Vec<_> = set.iter().collect();
            prop_assert!(starts.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }

    #[test]
    fn a_range_is_contained_only_as_a_whole() {
        let set: IntervalSet = [1..4, 6..9].into_iter().collect();
        assert!(set.contains_range(1..4) && set.contains_range(7..9) && set.contains_range(5..5));
        assert!(!set.contains_range(3..7) && !set.contains_range(0..2));
    }
}
