//! IDs that will never be delivered: clients are told until one has acknowledged it.

use std::collections::BTreeMap;
use std::ops::Range;

use trunkline_types::IntervalSet;
use trunkline_types::limits::EXPIRED_RANGES_MAX;

use super::outstanding::Client;

/// A client was told.
#[derive(Debug)]
struct Told {
    to: u64,
    client: Client,
    due_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Notices {
    untold: IntervalSet,
    /// By the first ID.
    told: BTreeMap<u64, Told>,
}

impl Notices {
    pub(super) fn add(&mut self, range: Range<u64>) {
        self.untold.insert(range);
    }

    /// What is to be told, and is `client`'s to acknowledge until `due_ms`.
    pub(super) fn take(&mut self, client: &Client, due_ms: u64) -> Vec<Range<u64>> {
        let ranges: Vec<Range<u64>> = self.untold.iter().take(EXPIRED_RANGES_MAX).collect();
        for range in &ranges {
            self.untold.remove(range.clone());
            self.told.insert(range.start, Told { to: range.end, client: client.clone(), due_ms });
        }
        ranges
    }

    /// What a client was told and has not acknowledged.
    pub(super) fn of(&self, client: &Client) -> Vec<Range<u64>> {
        let of_client = self.told.iter().filter(|(_, told)| told.client == *client);
        of_client.map(|(&from, told)| from..told.to).collect()
    }

    /// It is told again.
    pub(super) fn take_back(&mut self, range: Range<u64>) {
        if self.told.remove(&range.start).is_some() {
            self.untold.insert(range);
        }
    }

    /// What a client was told and has not acknowledged is told again.
    pub(super) fn leave(&mut self, client: &Client) {
        self.of(client).into_iter().for_each(|range| self.take_back(range));
    }

    pub(super) fn expire(&mut self, now_ms: u64) {
        let due = self.told.iter().filter(|(_, told)| told.due_ms <= now_ms);
        let due: Vec<Range<u64>> = due.map(|(&from, told)| from..told.to).collect();
        due.into_iter().for_each(|range| self.take_back(range));
    }

    /// Nobody is to be told of these any more.
    pub(super) fn acknowledged(&mut self, range: &Range<u64>) {
        self.untold.remove(range.clone());
        self.told.retain(|&from, told| !(range.contains(&from) && told.to <= range.end));
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.told.values().map(|told| told.due_ms).min()
    }

    /// Told or not, of no use to anybody: the first ID from `from` on that may still be delivered.
    pub(super) fn first_after(&self, from: u64) -> u64 {
        let mut id = from;
        loop {
            let told = self.told.range(..=id).next_back().filter(|(_, told)| told.to > id);
            let next = told.map_or_else(|| self.untold.first_missing(id), |(_, told)| told.to);
            if next == id {
                return id;
            }
            id = next;
        }
    }

    pub(super) fn are_outstanding(&self) -> bool {
        !self.told.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use super::*;

    fn client(name: &str) -> Client {
        Client::Named(name.into())
    }

    #[test]
    fn what_one_client_was_told_is_told_to_another_only_when_the_first_is_late_or_gone() {
        let mut notices = Notices::default();
        notices.add(1..5);
        assert_eq!(notices.take(&client("a"), 100), [1..5]);
        assert_eq!(notices.take(&client("b"), 100), []);
        notices.add(7..9);
        assert_eq!((notices.first_after(1), notices.first_after(7)), (5, 9));
        assert_eq!(notices.take(&client("b"), 200), [7..9]);
        notices.expire(100);
        assert_eq!((notices.take(&client("b"), 300), notices.next_due()), (vec![1..5], Some(200)));
        notices.leave(&client("b"));
        assert_eq!(notices.take(&client("c"), 400), [1..5, 7..9]);
        notices.acknowledged(&(1..5));
        notices.expire(400);
        assert_eq!(notices.take(&client("d"), 500), [7..9]);
    }
}
