//! I5: a position never passes an ID that no client of the subscription has acknowledged; no push that begins after it
//! was told gets an ID at or below it; and every ID is delivered in the end. In IMMEDIATE, instead, no ID comes twice. And
//! no key is with two clients of one dispatcher at once.

use std::collections::BTreeMap;

use super::Findings;
use crate::oracle::{Hold, Mode, Record, Subscription};

pub(super) fn check(record: &Record) -> Findings {
    let mut findings = Findings::new();
    for ((topic, consumer), subscription) in &record.subscriptions {
        let who = format!("{consumer} of topic {topic}");
        two_at_once(&who, subscription, &mut findings);
        if subscription.mode == Mode::Immediate {
            twice(&who, subscription, &mut findings);
        } else if let Some((_, base)) = subscription.began {
            passed(&who, base, subscription, &mut findings);
            late_pushes(record, *topic, &who, base, subscription, &mut findings);
        }
    }
    for settled in &record.settled {
        for (who, missing) in settled.not_delivered.iter().filter(|(_, missing)| !missing.is_empty()) {
            let (when, count, first) = (&settled.when, missing.len(), missing[0]);
            let waited = settled.took.as_secs();
            findings.push(format!(
                "{when}: {count} IDs from {first} on were not delivered to {who} after {waited} s"
            ));
        }
    }
    findings
}

fn passed(who: &str, base: u64, subscription: &Subscription, findings: &mut Findings) {
    let mut checked = base;
    for told in &subscription.positions {
        for id in checked + 1..=told.position {
            if subscription.acknowledged.get(&id).is_none_or(|at| *at > told.at) {
                let at = told.at.as_millis();
                findings.push(format!(
                    "the position of {who} was {} at {at} ms, and nobody had acknowledged {id}",
                    told.position
                ));
            }
        }
        checked = checked.max(told.position);
    }
}

fn twice(who: &str, subscription: &Subscription, findings: &mut Findings) {
    for (id, times) in subscription.times.iter().filter(|(_, times)| **times > 1) {
        findings.push(format!("{who} was to get each ID at most once, and got {id} {times} times"));
    }
}

fn two_at_once(who: &str, subscription: &Subscription, findings: &mut Findings) {
    let mut last: BTreeMap<(u64, u64), Vec<&Hold>> = BTreeMap::new();
    for hold in &subscription.holds {
        let before = last.entry((hold.dispatcher, hold.key)).or_default();
        before.retain(|other| other.until > hold.from);
        // It was handed out while the other certainly had the key.
        let others = before
            .iter()
            .find(|other| other.client != hold.client && hold.asked.is_some_and(|asked| asked >= other.from));
        if let Some(other) = others {
            let (key, at) = (hold.key, hold.from.as_millis());
            findings.push(format!(
                "{} of {who} got {} of key {key} at {at} ms, while {} had {} of it",
                hold.client, hold.id, other.client, other.id
            ));
        }
        before.push(hold);
    }
}

fn late_pushes(
    record: &Record,
    topic: usize,
    who: &str,
    base: u64,
    subscription: &Subscription,
    findings: &mut Findings,
) {
    let began = subscription.began.map(|(at, _)| (at, base));
    let told = subscription.positions.iter().map(|told| (told.at, told.position));
    let mut told: Vec<_> = began.into_iter().chain(told).collect();
    told.sort_unstable();
    let mut highest = 0;
    for (_, position) in &mut told {
        highest = highest.max(*position);
        *position = highest;
    }
    for (name, seen) in record.named.iter().filter(|(name, _)| name.topic == topic) {
        for message in seen.iter().map(|seen| seen.message) {
            let Some(push) = record.push(message) else { continue };
            let before = told.partition_point(|(at, _)| *at < push.sent);
            let position = before.checked_sub(1).map_or(0, |last| told[last].1);
            if name.id <= position {
                findings.push(format!("{message} got ID {} although {who} had passed {position}", name.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::small::{local, ms, named, record, subscription};
    use super::*;
    use crate::oracle::{Position, Settled};

    fn good() -> Record {
        let mut record = record();
        for id in 1..=3 {
            let message = local(&mut record, id, id + 1);
            named(&mut record, id, message);
        }
        let subscription = subscription(&mut record);
        subscription.acknowledged = [(1, ms(10)), (2, ms(20)), (3, ms(30))].into();
        subscription.positions = vec![Position { at: ms(25), position: 2 }];
        assert_eq!(check(&record), Findings::new());
        record
    }

    #[test]
    fn a_position_that_passes_what_nobody_acknowledged_is_found() {
        let mut record = good();
        subscription(&mut record).positions.push(Position { at: ms(26), position: 3 });
        assert_eq!(
            check(&record),
            ["the position of alone of topic 0 was 3 at 26 ms, and nobody had acknowledged 3"]
        );
    }

    #[test]
    fn a_later_push_behind_a_position_is_found() {
        let mut record = good();
        record.pushes[1].sent = ms(27);
        assert_eq!(check(&record), ["#1 got ID 2 although alone of topic 0 had passed 2"]);
    }

    #[test]
    fn what_comes_twice_is_found_where_at_most_once_is_promised() {
        let mut record = good();
        subscription(&mut record).times = [(1, 1), (2, 2)].into();
        assert_eq!(check(&record), Findings::new());
        subscription(&mut record).mode = Mode::Immediate;
        assert_eq!(check(&record), ["alone of topic 0 was to get each ID at most once, and got 2 2 times"]);
    }

    #[test]
    fn a_key_with_two_clients_of_one_dispatcher_is_found() {
        let hold = |client: &str, id, asked, from, until| Hold {
            dispatcher: 1,
            key: 3,
            id,
            client: client.to_owned(),
            asked: Some(ms(asked)),
            from: ms(from),
            until: ms(until),
        };
        let mut record = good();
        let a = hold("a", 1, 10, 12, 100);
        let cases = [
            (hold("b", 2, 20, 22, 90), true),
            (hold("b", 2, 100, 101, 190), false),
            (hold("b", 2, 11, 22, 90), false),
            (hold("a", 2, 20, 22, 90), false),
            (Hold { dispatcher: 2, ..hold("b", 2, 20, 22, 90) }, false),
            (Hold { key: 4, ..hold("b", 2, 20, 22, 90) }, false),
            (Hold { asked: None, ..hold("b", 2, 20, 22, 90) }, false),
        ];
        for (second, is_found) in cases {
            subscription(&mut record).holds = vec![a.clone(), second.clone()];
            assert_eq!(check(&record).len(), usize::from(is_found), "{second:?}");
        }
    }

    #[test]
    fn what_is_never_delivered_is_found() {
        let mut record = good();
        let not_delivered = vec![("alone of topic 0".to_owned(), vec![3])];
        let when = "at the end".to_owned();
        record.settled.push(Settled { when, took: ms(5_000), not_ordered: Vec::new(), not_delivered });
        assert_eq!(
            check(&record),
            ["at the end: 1 IDs from 3 on were not delivered to alone of topic 0 after 5 s"]
        );
    }
}
