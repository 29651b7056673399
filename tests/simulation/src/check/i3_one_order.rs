//! I3: a name stands for one message everywhere, a message has one name, names are dense; what is received was pushed.

use super::Findings;
use crate::oracle::{Name, Record};

pub(super) fn check(record: &Record) -> Findings {
    let mut findings: Findings =
        record.foreign.iter().map(|what| format!("nobody has pushed what is {what}")).collect();
    for (name, seen) in record.named.iter().filter(|(_, seen)| seen.len() > 1) {
        let messages: Vec<String> =
            seen.iter().map(|seen| format!("{} by {}", seen.message, seen.by)).collect();
        findings.push(format!("{name} stands for {}", messages.join(" and ")));
    }
    for (message, ids) in record.ids().into_iter().filter(|(_, ids)| ids.len() > 1) {
        findings.push(format!("{message} has the IDs {ids:?}"));
    }
    for (name, seen) in &record.named {
        let others =
            seen.iter().filter(|seen| record.push(seen.message).is_none_or(|push| push.topic != name.topic));
        findings.extend(others.map(|seen| format!("{name} stands for {}, of another topic", seen.message)));
    }
    at_the_end(record, &mut findings);
    findings
}

/// All datacenters read the same, without a gap, and what was ever seen is there.
fn at_the_end(record: &Record, findings: &mut Findings) {
    for ((datacenter, topic), rows) in &record.at_the_end {
        let place = &record.deployment.names[*datacenter];
        if let Some((at, (id, _))) = rows.iter().enumerate().find(|(at, (id, _))| *id != *at as u64 + 1) {
            findings.push(format!("{place} reads ID {id} of topic {topic} where {} belongs", at + 1));
        }
        let first = record.at_the_end.iter().find(|((_, other), _)| other == topic);
        if let Some(((other, _), _)) = first.filter(|(_, expected)| *expected != rows) {
            let other = &record.deployment.names[*other];
            findings.push(format!("{place} and {other} read different sequences of topic {topic}"));
        }
        let highest = rows.last().map_or(0, |(id, _)| *id);
        let range = Name { topic: *topic, id: highest + 1 }..Name { topic: topic + 1, id: 0 };
        if let Some((beyond, _)) = record.named.range(range).next() {
            findings.push(format!("{place} reads up to ID {highest} only, and {beyond} was seen"));
        }
        for (id, message) in rows {
            let known = record.named.get(&Name { topic: *topic, id: *id });
            if let Some(seen) = known.and_then(|seen| seen.iter().find(|seen| seen.message != *message)) {
                findings.push(format!("{place} reads {message} as ID {id}, which was {}", seen.message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::small::{local, named, record};
    use super::*;
    use crate::oracle::Message;

    type Rows = Vec<(u64, Message)>;

    fn good() -> Record {
        let mut record = record();
        for id in 1..=3 {
            let message = local(&mut record, id, id + 1);
            named(&mut record, id, message);
        }
        let rows: Rows = (1..=3).map(|id| (id, Message(id - 1))).collect();
        for datacenter in 0..3 {
            record.at_the_end.insert((datacenter, 0), rows.clone());
        }
        assert_eq!(check(&record), Findings::new());
        record
    }

    #[test]
    fn a_name_for_two_messages_and_a_message_with_two_names_are_found() {
        let mut record = good();
        named(&mut record, 2, Message(0));
        let findings = check(&record);
        assert!(findings.contains(&"topic 0 ID 2 stands for #1 by a pop and #0 by a pop".to_owned()));
        assert!(findings.contains(&"#0 has the IDs [1, 2]".to_owned()));
    }

    #[test]
    fn gaps_differences_and_losses_at_the_end_are_found() {
        let changes: [fn(&mut Rows); 3] =
            [|rows| rows.retain(|(id, _)| *id != 2), |rows| rows[1].1 = Message(2), |rows| rows.truncate(2)];
        for change in changes {
            let mut record = good();
            change(record.at_the_end.get_mut(&(1, 0)).unwrap());
            assert!(!check(&record).is_empty());
        }
        let mut record = good();
        record.foreign.push("topic 0, ID 4: a pop".to_owned());
        record.pushes[0].topic = 1;
        assert_eq!(check(&record).len(), 2);
    }
}
