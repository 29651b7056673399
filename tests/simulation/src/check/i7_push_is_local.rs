//! I7: a push at LOCAL succeeds while two stores of its datacenter and its push server work, whatever else is down. (In
//! a datacenter with one store the other may be anywhere: there, while nothing at all is wrong.)

use std::time::Duration;

use trunkline_wire::v1::AckLevel;

use super::Findings;
use crate::oracle::{Fault, Outcome, Push, Record};

/// Until connections are made again after a fault: silence is noticed, a dial fails and backs off.
const RECOVERS_WITHIN: Duration = Duration::from_secs(8);

pub(super) fn check(record: &Record) -> Findings {
    let mut findings = Findings::new();
    for (message, push) in record.messages().filter(|(_, push)| push.level == AckLevel::Local) {
        let why = match &push.outcome {
            Outcome::Acked(_) | Outcome::Waiting => continue,
            Outcome::Refused(why) | Outcome::Unknown(why) => why,
        };
        // A producer may push from afar, through links that are cut.
        if push.stream.is_none() && push.produced.is_none() && is_quiet(record, push) {
            let (publisher, at) = (&push.publisher, push.sent.as_millis());
            findings.push(format!("{message} of {publisher}, sent at {at} ms, failed at LOCAL: {why}"));
        }
    }
    findings
}

fn is_quiet(record: &Record, push: &Push) -> bool {
    let until = push.ended.unwrap_or(push.sent);
    let from = push.sent.saturating_sub(RECOVERS_WITHIN);
    let (name, stores) =
        (&record.deployment.names[push.datacenter], record.deployment.stores[push.datacenter].len());
    let touches = |fault: &Fault| stores < 2 || fault.is_on_push_path_of(name);
    !record.faults.iter().any(|fault| fault.overlaps(from, until) && touches(fault))
}

#[cfg(test)]
mod tests {
    use super::super::small::{ms, push, record};
    use super::*;
    use crate::faults::Kind;

    fn failed_during(node: &str) -> Findings {
        let mut record = record();
        push(&mut record, 20_000, 25_000, Outcome::Unknown("DeadlineExceeded".to_owned()));
        record.pushes[0].stream = None;
        record.faults.push(Fault {
            kind: Kind::Crash,
            from: ms(14_000),
            until: Some(ms(15_000)),
            nodes: [node.to_owned()].into(),
            datacenters: ["nyc".to_owned()].into(),
        });
        check(&record)
    }

    #[test]
    fn a_failure_without_a_fault_in_the_datacenter_is_found() {
        for node in ["nyc-message-id-1", "sea-message-store-1"] {
            assert_eq!(
                failed_during(node),
                ["#0 of nyc-0, sent at 20000 ms, failed at LOCAL: DeadlineExceeded"]
            );
        }
        for node in ["nyc-message-store-2", "nyc-push-1"] {
            assert_eq!(failed_during(node), Findings::new());
        }
    }
}
