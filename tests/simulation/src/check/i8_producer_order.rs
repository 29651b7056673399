//! I8: what one PushStream sends, and what is sent after the answer to the one before, gets IDs in that order, while its
//! coordinator lives and its datacenter is not cut off.
//!
//! A PushStream is held to it always: it ends where the order could not be kept. Only an outage takes it back, after
//! which fresh messages overtake the backlog; and that must not happen without an outage.

use std::collections::BTreeMap;
use std::time::Duration;

use trunkline_wire::v1::AckLevel;

use super::Findings;
use crate::oracle::{Message, Push, Record};

/// An overtaking succession comes so long after the fault that it comes from, at most.
const AFTER_FAULT: Duration = Duration::from_secs(45);
/// A push server may still learn so late which coordinator it has lost.
const MARGIN: Duration = Duration::from_secs(8);

/// A publisher, its PushStream if it has one, and a topic.
type Producer<'a> = (&'a str, Option<u64>, usize);

pub(super) fn check(record: &Record) -> Findings {
    let ids = record.ids();
    let mut findings = Findings::new();
    let mut last: BTreeMap<Producer<'_>, (Message, &Push, u64)> = BTreeMap::new();
    for (message, push) in record.messages() {
        let Some(id) = ids.get(&message).and_then(|ids| ids.first().copied()) else { continue };
        if push.reached().is_none_or(|level| level < AckLevel::Local) {
            continue;
        }
        if push.stream.is_none() && push.produced.is_some() {
            continue; // Pushed through several datacenters, in any order.
        }
        let producer = (push.publisher.as_str(), push.stream, push.topic);
        let before = last.insert(producer, (message, push, id));
        let Some((earlier, sent_before, earlier_id)) = before else { continue };
        if earlier_id > id && is_held_to_it(record, sent_before, push) {
            let who = &push.publisher;
            findings
                .push(format!("{who} sent {earlier} before {message}, and their IDs are {earlier_id}, {id}"));
        }
    }
    for (at, datacenter) in &record.overtakes {
        let from = at.saturating_sub(AFTER_FAULT);
        if !record.faults.iter().any(|fault| fault.overlaps(from, *at)) {
            findings.push(format!("messages overtook each other in {datacenter} without an outage"));
        }
    }
    findings
}

fn is_held_to_it(record: &Record, before: &Push, push: &Push) -> bool {
    let name = &record.deployment.names[push.datacenter];
    // Until the later one had its ID for certain, an outage may have come between.
    let until = push.ended.unwrap_or(push.sent) + MARGIN;
    let overtaken =
        |(at, datacenter): &(Duration, String)| datacenter == name && *at >= before.sent && *at <= until;
    if record.overtakes.iter().any(overtaken) {
        return false;
    }
    let from = before.sent.saturating_sub(MARGIN);
    let touched = || {
        let mut during = record.faults.iter().filter(|fault| fault.overlaps(from, until));
        during.any(|fault| fault.is_on_push_path_of(name))
    };
    push.stream.is_some() || !touched()
}

#[cfg(test)]
mod tests {
    use super::super::small::{local, ms, named, record};
    use super::*;
    use crate::faults::Kind;
    use crate::oracle::Fault;

    fn swapped() -> Record {
        let mut record = record();
        let (one, two) = (local(&mut record, 0, 5), local(&mut record, 10, 15));
        named(&mut record, 2, one);
        named(&mut record, 1, two);
        record
    }

    #[test]
    fn ids_in_another_order_than_sent_are_found() {
        let mut record = swapped();
        assert_eq!(check(&record), ["nyc-0 sent #0 before #1, and their IDs are 2, 1"]);
        record.pushes[1].stream = Some(2);
        assert_eq!(check(&record), Findings::new());
    }

    #[test]
    fn a_store_that_fails_excuses_calls_and_not_a_stream() {
        let mut record = swapped();
        let nodes = ["nyc-message-store-1".to_owned()].into();
        let datacenters = Default::default();
        record.faults.push(Fault { kind: Kind::Crash, from: ms(6), until: Some(ms(7)), nodes, datacenters });
        assert_eq!(check(&record).len(), 1);
        record.pushes.iter_mut().for_each(|push| push.stream = None);
        assert_eq!(check(&record), Findings::new());
    }

    #[test]
    fn overtaking_is_allowed_after_an_outage_and_at_no_other_time() {
        let mut record = swapped();
        record.overtakes.push((ms(7), "nyc".to_owned()));
        assert_eq!(check(&record), ["messages overtook each other in nyc without an outage"]);
    }
}
