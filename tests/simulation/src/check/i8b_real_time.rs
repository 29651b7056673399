//! I8b: what was acknowledged at ORDERED before another push began, anywhere, has the lower ID.

use std::collections::BTreeMap;

use trunkline_wire::v1::AckLevel;

use super::Findings;
use crate::oracle::{Message, Record};

pub(super) fn check(record: &Record) -> Findings {
    let ids = record.ids();
    let mut findings = Findings::new();
    let id_of = |message: &Message| ids.get(message).and_then(|ids| ids.first().copied());
    // Per topic: when ORDERED was told, and the highest ID that had been told so by then.
    let mut told: BTreeMap<usize, Vec<(std::time::Duration, u64, Message)>> = BTreeMap::new();
    for (message, push) in record.messages() {
        if let (true, Some(ended), Some(id)) =
            (push.reached() >= Some(AckLevel::Ordered), push.ended, id_of(&message))
        {
            told.entry(push.topic).or_default().push((ended, id, message));
        }
    }
    for acknowledged in told.values_mut() {
        acknowledged.sort_unstable();
        let mut highest = (0, Message(0));
        for (_, id, message) in acknowledged {
            highest = highest.max((*id, *message));
            (*id, *message) = highest;
        }
    }
    for (message, push) in record.messages() {
        let (Some(id), Some(told)) = (id_of(&message), told.get(&push.topic)) else { continue };
        let before = told.partition_point(|(ended, _, _)| *ended < push.sent);
        let Some((_, highest, earlier)) = before.checked_sub(1).map(|last| told[last]) else { continue };
        if highest > id {
            findings.push(format!(
                "{earlier} was acknowledged with ID {highest} before {message} was sent, which has ID {id}"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::small::{acked, local, named, push, record};
    use super::*;

    #[test]
    fn a_later_push_with_a_lower_id_is_found() {
        let mut record = record();
        let one = push(&mut record, 0, 10, acked(AckLevel::Ordered, Some(2)));
        let two = local(&mut record, 11, 20);
        named(&mut record, 2, one);
        named(&mut record, 1, two);
        assert_eq!(check(&record), ["#0 was acknowledged with ID 2 before #1 was sent, which has ID 1"]);
        record.pushes[1].sent = std::time::Duration::from_millis(9);
        assert_eq!(check(&record), Findings::new());
    }
}
