//! I9: what was said to be certainly not stored never gets an ID, and is on no disk.

use super::Findings;
use crate::oracle::{Outcome, Record};

pub(super) fn check(record: &Record) -> Findings {
    let ids = record.ids();
    let mut findings = Findings::new();
    for (message, push) in record.messages() {
        let Outcome::Refused(why) = &push.outcome else { continue };
        if let Some(ids) = ids.get(&message) {
            findings.push(format!("{message} was refused ({why}) and has ID {ids:?}"));
        } else if record.copies_at_the_end.contains_key(&message) {
            findings.push(format!("{message} was refused ({why}) and is on disk"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::small::{copies, named, push, record};
    use super::*;

    #[test]
    fn a_refused_message_that_appears_is_found() {
        let mut record = record();
        let refused = push(&mut record, 0, 1, Outcome::Refused("Unavailable".to_owned()));
        let unknown = push(&mut record, 0, 1, Outcome::Unknown("DeadlineExceeded".to_owned()));
        named(&mut record, 1, unknown);
        assert_eq!(check(&record), Findings::new());
        record.copies_at_the_end.insert(refused, copies(&[(0, 0)]));
        assert_eq!(check(&record), ["#0 was refused (Unavailable) and is on disk"]);
        named(&mut record, 2, refused);
        assert_eq!(check(&record), ["#0 was refused (Unavailable) and has ID [2]"]);
    }
}
