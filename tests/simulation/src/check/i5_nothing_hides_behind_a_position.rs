//! I5: a position never passes an ID that no client of the subscription has acknowledged; no push that begins after it
//! was told gets an ID at or below it; and every ID is delivered in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Findings;
use crate::oracle::{Record, Replayed, Subscription};

pub(super) fn check(record: &Record) -> Findings {
    let mut findings = Findings::new();
    for ((topic, consumer), subscription) in &record.subscriptions {
        let who = format!("{consumer} of topic {topic}");
        if let Some((_, base)) = subscription.began {
            passed(&who, base, subscription, &mut findings);
            late_pushes(record, *topic, &who, base, subscription, &mut findings);
        }
    }
    for ((topic, consumer), replayed) in &record.replayed {
        replays(&format!("{consumer} of topic {topic}"), replayed, &mut findings);
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

/// Of a subscription that was sought: what was acknowledged in one generation counts for nothing in another.
fn replays(who: &str, replayed: &Replayed, findings: &mut Findings) {
    let mut first: BTreeMap<(u64, u64), Duration> = BTreeMap::new();
    for (((_, generation), id), at) in &replayed.acknowledged {
        let known = first.entry((*generation, *id)).or_insert(*at);
        *known = (*known).min(*at);
    }
    let mut checked = replayed.bases.clone();
    for (generation, told) in &replayed.positions {
        let Some(from) = checked.get_mut(generation) else { continue };
        for id in *from + 1..=told.position {
            if first.get(&(*generation, id)).is_none_or(|at| *at > told.at) {
                findings.push(format!(
                    "the position of {who} was {} at {} ms in generation {generation}, and nobody had acknowledged {id} \
                     in it",
                    told.position,
                    told.at.as_millis()
                ));
            }
        }
        *from = told.position.max(*from);
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
    fn what_was_acknowledged_before_a_seek_counts_for_nothing_after_it() {
        let mut record = good();
        let replayed = record.replayed.entry((0, "sought".to_owned())).or_default();
        replayed.bases = [(0, 0), (1, 1)].into();
        replayed.acknowledged =
            [(((9, 0), 1), ms(5)), (((9, 0), 2), ms(6)), (((9, 1), 3), ms(30))].into();
        replayed.positions =
            vec![(0, Position { at: ms(10), position: 2 }), (1, Position { at: ms(20), position: 1 })];
        assert_eq!(check(&record), Findings::new());
        let told = Position { at: ms(40), position: 3 };
        record.replayed.values_mut().for_each(|replayed| replayed.positions.push((1, told)));
        assert_eq!(
            check(&record),
            [
                "the position of sought of topic 0 was 3 at 40 ms in generation 1, and nobody had acknowledged 2 in it"
            ]
        );
    }

    #[test]
    fn what_a_new_era_has_not_delivered_is_lacking_whatever_earlier_ones_have() {
        let mut replayed = Replayed { stands_since: Some(ms(5)), ..Replayed::default() };
        replayed.bases = [(0, 0), (1, 1)].into();
        replayed.instances = [(9, ms(6))].into();
        replayed.got = [((9, 0), 1), ((9, 0), 2), ((9, 0), 3), ((9, 1), 2)].into();
        assert_eq!(replayed.lacks(1..=3), [3]);
        replayed.stands_since = None;
        assert_eq!(replayed.lacks(1..=3), [2, 3], "while it is sought nobody knows");
        let fickle = Replayed {
            deleted: true,
            stands_since: Some(ms(7)),
            bases: [(0, 0)].into(),
            instances: [(9, ms(6))].into(),
            got: [((9, 0), 1)].into(),
            ..Replayed::default()
        };
        assert_eq!(fickle.lacks(1..=1), [1], "that was the one before");
    }

    #[test]
    fn a_later_push_behind_a_position_is_found() {
        let mut record = good();
        record.pushes[1].sent = ms(27);
        assert_eq!(check(&record), ["#1 got ID 2 although alone of topic 0 had passed 2"]);
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
