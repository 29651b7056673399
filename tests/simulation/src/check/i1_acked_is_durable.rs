//! I1: at the moment a client is told LOCAL or more, the message is on disk on two stores, and it stays there; told
//! EVERYWHERE, it is on disk in every datacenter.

use std::collections::BTreeMap;

use trunkline_wire::v1::AckLevel;

use super::Findings;
use crate::oracle::{Copies, Outcome, Record};

pub(super) fn check(record: &Record) -> Findings {
    let least = record.deployment.stores_min();
    let none = Copies::default();
    let ids = record.ids();
    let first: BTreeMap<_, _> = record
        .by_name()
        .into_iter()
        .filter_map(|(name, messages)| {
            Some((name, messages.into_iter().find(|message| ids.contains_key(message))?))
        })
        .collect();
    let mut findings = Findings::new();
    for (message, push) in record.messages().filter(|(_, push)| push.is_durable()) {
        let Outcome::Acked(acked) = &push.outcome else { continue };
        if acked.copies.stores() < least {
            let (level, copies) = (acked.reached, acked.copies.stores());
            findings
                .push(format!("{message} was acknowledged at {level:?} while on disk on {copies} store(s)"));
        }
        let datacenters = acked.copies.datacenters();
        if acked.reached == AckLevel::Everywhere && datacenters < record.deployment.names.len() {
            findings.push(format!(
                "{message} was acknowledged at Everywhere while on disk in {datacenters} datacenter(s)"
            ));
        }
        // Of a duplicate the first message must stay.
        let stays = push.produced.and_then(|of| first.get(&(push.topic, of))).unwrap_or(&message);
        let now = record.copies_at_the_end.get(stays).unwrap_or(&none);
        if now.stores() < least {
            findings.push(format!("{message} is on disk on {} store(s) at the end", now.stores()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::small::{acked, copies, local, push, record};
    use super::*;
    use crate::oracle::Acked;

    #[test]
    fn one_disk_is_too_few_now_or_later() {
        let mut record = record();
        let good = local(&mut record, 0, 1);
        record.copies_at_the_end.insert(good, copies(&[(0, 0), (0, 1)]));
        push(&mut record, 0, 1, acked(AckLevel::None, None));
        assert_eq!(check(&record), Findings::new());
        let early = Acked { reached: AckLevel::Local, copies: copies(&[(0, 0)]), ..Acked::default() };
        let early = push(&mut record, 0, 1, Outcome::Acked(early));
        record.copies_at_the_end.insert(early, copies(&[(0, 0), (0, 1)]));
        assert_eq!(check(&record), ["#2 was acknowledged at Local while on disk on 1 store(s)"]);
        record.copies_at_the_end.remove(&good);
        assert_eq!(check(&record).len(), 2);
    }

    #[test]
    fn two_datacenters_are_not_everywhere() {
        let mut record = record();
        let message = push(&mut record, 0, 1, acked(AckLevel::Everywhere, Some(1)));
        record.copies_at_the_end.insert(message, copies(&[(0, 0), (1, 0), (2, 0)]));
        assert_eq!(check(&record), ["#0 was acknowledged at Everywhere while on disk in 2 datacenter(s)"]);
    }
}
