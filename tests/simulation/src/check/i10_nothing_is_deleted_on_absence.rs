//! I10: of topics that keep for long nothing expires, no acknowledged push's receipt says that it is gone, and what has an
//! ID is on disk in every datacenter at the end. Of a topic that keeps for some seconds nothing expires that is younger or
//! that some datacenter has not got; a topic that is created again is another one; and what is kept no more leaves all
//! disks.

use trunkline_wire::v1::ReceiptState;

use super::Findings;
use crate::oracle::{Copies, Record};

pub(super) fn check(record: &Record) -> Findings {
    let mut findings: Findings = record.expired.iter().map(|what| format!("expired: {what}")).collect();
    let ids = record.ids();
    for receipt in &record.receipts {
        let is_durable = record.push(receipt.message).is_some_and(|push| push.is_durable());
        let is_gone = matches!(
            receipt.state,
            ReceiptState::NeverStored | ReceiptState::TopicDeleted | ReceiptState::Expired
        );
        let place = &record.deployment.names[receipt.datacenter];
        if is_durable && is_gone {
            findings
                .push(format!("{} was acknowledged, and {place} says {:?}", receipt.message, receipt.state));
        }
        let other = ids.get(&receipt.message).is_some_and(|ids| !ids.contains(&receipt.id));
        if receipt.state == ReceiptState::Ordered && other {
            findings
                .push(format!("{} is ID {} to {place}, and another elsewhere", receipt.message, receipt.id));
        }
    }
    findings.extend(record.brief.findings(record.deployment.names.len(), record.clocks_are_trusted()));
    let none = Copies::default();
    for (name, seen) in record.named.iter().filter_map(|(name, seen)| Some((name, seen.first()?))) {
        let copies = record.copies_at_the_end.get(&seen.message).unwrap_or(&none).datacenters();
        if copies < record.deployment.names.len() {
            findings.push(format!("{name} is on disk in {copies} datacenter(s) at the end"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::small::{copies, local, named, record};
    use super::*;
    use crate::oracle::ResolvedReceipt;

    #[test]
    fn what_has_gone_is_found() {
        let mut record = record();
        let message = local(&mut record, 0, 1);
        named(&mut record, 1, message);
        record.copies_at_the_end.insert(message, copies(&[(0, 0), (1, 1), (2, 0)]));
        let ordered = ResolvedReceipt { message, state: ReceiptState::Ordered, id: 1, datacenter: 2 };
        record.receipts.push(ordered);
        assert_eq!(check(&record), Findings::new());
        record.receipts.push(ResolvedReceipt { state: ReceiptState::NeverStored, ..ordered });
        record.receipts.push(ResolvedReceipt { id: 2, ..ordered });
        record.copies_at_the_end.insert(message, copies(&[(0, 0), (1, 1)]));
        record.expired.push("[1, 2) of topic 0".to_owned());
        assert_eq!(
            check(&record),
            [
                "expired: [1, 2) of topic 0",
                "#0 was acknowledged, and sea says NeverStored",
                "#0 is ID 2 to sea, and another elsewhere",
                "topic 0 ID 1 is on disk in 2 datacenter(s) at the end"
            ]
        );
    }
}
