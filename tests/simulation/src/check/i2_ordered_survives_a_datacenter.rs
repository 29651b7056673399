//! I2: whatever has an ID, when a client first sees it, is on disk in two datacenters (and on two stores), and stays so.

use super::Findings;
use crate::oracle::{Copies, Record};

pub(super) fn check(record: &Record) -> Findings {
    let (datacenters, stores) = (record.deployment.datacenters_min(), record.deployment.stores_min());
    let enough = |copies: &Copies| copies.datacenters() >= datacenters && copies.stores() >= stores;
    let none = Copies::default();
    let mut findings = Findings::new();
    for (name, seen) in record.named.iter().flat_map(|(name, all)| all.iter().map(move |seen| (name, seen))) {
        if !enough(&seen.copies) {
            let places = seen.copies.datacenters();
            findings.push(format!("{name} was seen by {} while on disk in {places} datacenter(s)", seen.by));
        }
        let now = record.copies_at_the_end.get(&seen.message).unwrap_or(&none);
        if !enough(now) {
            findings.push(format!("{name} is on disk in {} datacenter(s) at the end", now.datacenters()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::small::{copies, local, named, record};
    use super::*;

    #[test]
    fn two_disks_of_one_datacenter_are_too_few() {
        let mut record = record();
        let message = local(&mut record, 0, 1);
        named(&mut record, 1, message);
        record.copies_at_the_end.insert(message, copies(&[(0, 0), (2, 1)]));
        assert_eq!(check(&record), Findings::new());
        record.named.values_mut().next().unwrap()[0].copies = copies(&[(0, 0), (0, 1)]);
        assert_eq!(check(&record), ["topic 0 ID 1 was seen by a pop while on disk in 1 datacenter(s)"]);
        record.copies_at_the_end.clear();
        assert_eq!(check(&record).len(), 2);
    }
}
