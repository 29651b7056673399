//! I6: of all messages of one (topic, producer, sequence) one has an ID, through whichever datacenter they were pushed;
//! and whoever was told that his is a duplicate was told the ID of that one.

use trunkline_wire::v1::ReceiptState;

use super::Findings;
use crate::oracle::{Message, Name, Outcome, Record};

pub(super) fn check(record: &Record) -> Findings {
    let ids = record.ids();
    let mut findings = Findings::new();
    for ((topic, of), messages) in record.by_name() {
        let with_id: Vec<_> =
            messages.iter().filter_map(|message| Some((message, ids.get(message)?))).collect();
        if with_id.len() > 1 {
            let said: Vec<String> =
                with_id.iter().map(|(message, ids)| format!("{message} as {ids:?}")).collect();
            let (producer, sequence) = (of.producer, of.sequence);
            findings.push(format!(
                "sequence {sequence} of producer {producer} in topic {topic} has IDs {}",
                said.join(" and ")
            ));
        }
    }
    for (message, push) in record.messages() {
        let Outcome::Acked(acked) = &push.outcome else { continue };
        if let (true, Some(id)) = (acked.duplicate, acked.id) {
            findings.extend(wrong_first(record, message, id, "an answer"));
        }
        if acked.duplicate && push.produced.is_none() {
            findings.push(format!("{message} has no producer, and was called a duplicate"));
        }
    }
    for receipt in record.receipts.iter().filter(|receipt| receipt.state == ReceiptState::Duplicate) {
        let place = &record.deployment.names[receipt.datacenter];
        findings.extend(wrong_first(record, receipt.message, receipt.id, place));
    }
    findings
}

/// A message is said to be a duplicate of this ID: that one has the same name.
fn wrong_first(record: &Record, message: Message, id: u64, by: &str) -> Option<String> {
    let push = record.push(message)?;
    let named = record.named.get(&Name { topic: push.topic, id });
    let firsts =
        named.into_iter().flatten().filter_map(|seen| Some((seen.message, record.push(seen.message)?)));
    let other = firsts
        .filter(|(_, first)| first.produced.is_none() || first.produced != push.produced)
        .map(|(m, _)| m);
    let other = other.collect::<Vec<_>>();
    match (named.is_some(), other.first()) {
        (true, None) => None,
        (true, Some(other)) => {
            Some(format!("{message} is a duplicate of ID {id} to {by}, which is {other}, of another name"))
        }
        (false, _) => Some(format!("{message} is a duplicate of ID {id} to {by}, which nobody has seen")),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Produced, ProducerId};
    use trunkline_wire::v1::AckLevel;

    use super::super::small::{acked, local, named, push, record};
    use super::*;
    use crate::oracle::{Acked, ResolvedReceipt};

    fn produced(record: &mut Record, message: Message, sequence: u64) {
        let at = usize::try_from(message.0).unwrap();
        record.pushes[at].produced = Some(Produced { producer: ProducerId([7; 16]), sequence });
    }

    /// #0 has ID 1 and the name 5; #1 is of the same name.
    fn good() -> Record {
        let mut record = record();
        let first = local(&mut record, 0, 1);
        let again = push(&mut record, 2, 3, acked(AckLevel::Ordered, Some(1)));
        let Outcome::Acked(Acked { duplicate, .. }) = &mut record.pushes[1].outcome else { panic!("acked") };
        *duplicate = true;
        [first, again].into_iter().for_each(|message| produced(&mut record, message, 5));
        named(&mut record, 1, first);
        let receipt =
            ResolvedReceipt { message: again, state: ReceiptState::Duplicate, id: 1, datacenter: 2 };
        record.receipts.push(receipt);
        assert_eq!(check(&record), Findings::new());
        record
    }

    #[test]
    fn two_ids_for_one_name_are_found() {
        let mut record = good();
        named(&mut record, 2, Message(1));
        let who = ProducerId([7; 16]);
        assert_eq!(
            check(&record),
            [format!("sequence 5 of producer {who} in topic 0 has IDs #0 as [1] and #1 as [2]")]
        );
        produced(&mut record, Message(1), 6);
        assert_eq!(check(&record).len(), 2, "of another sequence, and so no duplicate");
    }

    #[test]
    fn a_duplicate_of_nothing_or_of_another_name_is_found() {
        let mut record = good();
        record.receipts[0].id = 0;
        assert_eq!(check(&record), ["#1 is a duplicate of ID 0 to sea, which nobody has seen"]);
        let mut record = good();
        let other = local(&mut record, 4, 5);
        named(&mut record, 2, other);
        record.receipts[0].id = 2;
        assert_eq!(check(&record), ["#1 is a duplicate of ID 2 to sea, which is #2, of another name"]);
        let mut record = good();
        record.pushes[1].produced = None;
        assert_eq!(
            check(&record).last().unwrap(),
            "#1 is a duplicate of ID 1 to sea, which is #0, of another name"
        );
    }
}
