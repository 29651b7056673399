//! I4: once all is well enough, everything acknowledged that a live store holds gets an ID within a bound, and so does
//! everything once all has returned; of a producer's messages of one name, one. (That it gets only one is I3 and I6.)

use super::Findings;
use crate::oracle::Record;

/// How many are named.
const SHOWN: usize = 5;

pub(super) fn check(record: &Record) -> Findings {
    let mut findings = Findings::new();
    for settled in record.settled.iter().filter(|settled| !settled.not_ordered.is_empty()) {
        let (when, waited, count) = (&settled.when, settled.took.as_secs(), settled.not_ordered.len());
        let some = &settled.not_ordered[..count.min(SHOWN)];
        findings.push(format!("{when}: {count} acknowledged messages have no ID after {waited} s: {some:?}"));
    }
    let ordered = record.ordered();
    let lost: Vec<_> = record
        .messages()
        .filter(|(message, push)| push.is_durable() && !ordered.contains(message))
        .map(|(message, _)| message)
        .collect();
    if !lost.is_empty() {
        let some = &lost[..lost.len().min(SHOWN)];
        findings.push(format!("{} acknowledged messages were never seen under an ID: {some:?}", lost.len()));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::small::{local, ms, named, record};
    use super::*;
    use crate::oracle::Settled;

    #[test]
    fn an_acknowledged_message_without_an_id_is_found() {
        let mut record = record();
        let message = local(&mut record, 0, 1);
        assert_eq!(check(&record), ["1 acknowledged messages were never seen under an ID: [Message(0)]"]);
        named(&mut record, 1, message);
        assert_eq!(check(&record), Findings::new());
        let (when, took) = ("all has returned".to_owned(), ms(60_000));
        record.settled.push(Settled { when, took, not_ordered: vec![message], not_delivered: Vec::new() });
        assert_eq!(
            check(&record),
            ["all has returned: 1 acknowledged messages have no ID after 60 s: [Message(0)]"]
        );
    }
}
