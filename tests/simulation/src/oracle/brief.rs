//! What clients saw of topics whose messages do not stay, and what is wrong with that.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use trunkline_wire::v1::ExpiredRange;

use super::disks::Disks;
use super::record::Message;
use crate::load::FIRST;

/// How much order time may run ahead: the entries of one step share it, and clients hear a little late.
const AHEAD: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub struct BriefPush {
    /// To the topic that keeps for some time; else to the one that is deleted now and then.
    pub is_kept: bool,
    pub sent: Duration,
    pub topic_id: Option<u64>,
    pub id: Option<u64>,
}

/// That record.
#[derive(Clone, Debug, Default)]
pub struct Brief {
    pub kept_for: Duration,
    /// From message [`FIRST`] on.
    pub pushes: Vec<BriefPush>,
    /// Of the topic that keeps for some time: which message has an ID.
    ids: BTreeMap<u64, Message>,
    /// IDs below it were said to be expired.
    pub expired_below: u64,
    /// Of expired messages: (sent, said, datacenters that have had it on disk).
    pub expired: BTreeMap<u64, (Duration, Duration, usize)>,
    pub deletions: u64,
    /// Messages of one answer that are of several topics, IDs that change their message, holes that nobody explains.
    pub wrong: Vec<String>,
    /// Expired or deleted long ago, and still on some disk at the end.
    pub left: usize,
}

impl Brief {
    fn push(&self, message: Message) -> Option<&BriefPush> {
        self.pushes.get(usize::try_from(message.0.checked_sub(FIRST)?).ok()?)
    }

    /// An answer to a reader that asked from `from` on says that these are expired.
    pub fn expires(&mut self, range: Range<u64>, from: u64, now: Duration, disks: &Disks) {
        if range.start != from || range.start >= range.end {
            self.wrong.push(format!("a read from {from} on says that {range:?} is expired"));
        }
        self.expired_below = self.expired_below.max(range.end);
        let acked = (FIRST..).map(Message).zip(&self.pushes).filter(|(_, push)| push.is_kept);
        let acked: BTreeMap<u64, Message> =
            acked.filter_map(|(message, push)| Some((push.id?, message))).collect();
        for id in range {
            let known = self.ids.get(&id).or_else(|| acked.get(&id)).copied();
            if let Some(message) = known.filter(|_| !self.expired.contains_key(&id)) {
                let sent = self.push(message).map_or(now, |push| push.sent);
                self.expired.insert(id, (sent, now, disks.copies(message).datacenters()));
            }
        }
    }

    /// What a read from `from` on gave: consecutive, from there or from where what is expired ends.
    pub fn reads(&mut self, from: u64, read: &[(u64, Message)], expired: &[ExpiredRange]) {
        let mut next = expired.last().map_or(from, |range| range.to);
        for &(id, message) in read {
            if id != next {
                self.wrong.push(format!("a read from {from} on gives {id} where {next} belongs"));
            }
            next = id + 1;
            let known = *self.ids.entry(id).or_insert(message);
            if known != message {
                self.wrong.push(format!("ID {id} of a topic that keeps briefly is {known} and {message}"));
            }
            if self.push(message).is_none_or(|push| !push.is_kept) {
                self.wrong.push(format!("ID {id} of a topic that keeps briefly is {message}, of another"));
            }
        }
    }

    pub fn reads_reborn(&mut self, read: &[(u64, Message)]) {
        let ids = read.iter().filter_map(|(_, message)| self.push(*message)?.topic_id);
        let mut ids: Vec<u64> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > 1 {
            self.wrong.push(format!("one answer has messages of the topics {ids:?}"));
        }
        if read.iter().any(|(_, message)| self.push(*message).is_none_or(|push| push.is_kept)) {
            self.wrong.push("a topic that was created again has messages of another".to_owned());
        }
    }

    /// Younger than the topic keeps messages, or not in every datacenter.
    pub fn findings(&self, datacenters: usize, clocks_are_trusted: bool) -> Vec<String> {
        let mut findings: Vec<String> = self.wrong.clone();
        for (id, (sent, said, copies)) in &self.expired {
            let age = said.saturating_sub(*sent);
            if clocks_are_trusted && age + AHEAD < self.kept_for {
                let (age, kept) = (age.as_millis(), self.kept_for.as_millis());
                findings.push(format!("ID {id} was expired after {age} ms, and is kept for {kept} ms"));
            }
            if *copies < datacenters {
                findings.push(format!("ID {id} was expired, and had been on disk in {copies} datacenter(s)"));
            }
        }
        if self.left > 0 {
            findings.push(format!("{} messages are on disk at the end that should have gone", self.left));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn brief() -> Brief {
        let push = |is_kept, topic_id| BriefPush { is_kept, sent: ms(0), topic_id: Some(topic_id), id: None };
        let pushes = vec![push(true, 1), push(true, 1), push(false, 2), push(false, 3)];
        Brief { kept_for: ms(5_000), pushes, ..Brief::default() }
    }

    #[test]
    fn what_expires_too_early_or_is_not_everywhere_is_found() {
        let mut brief = brief();
        brief.expired.insert(1, (ms(1_000), ms(6_000), 3));
        assert_eq!(brief.findings(3, true), Vec::<String>::new());
        brief.expired.insert(2, (ms(1_000), ms(5_000), 2));
        assert_eq!(
            brief.findings(3, true),
            [
                "ID 2 was expired after 4000 ms, and is kept for 5000 ms",
                "ID 2 was expired, and had been on disk in 2 datacenter(s)"
            ]
        );
        assert_eq!(brief.findings(3, false).len(), 1, "where clocks say nothing");
        brief.left = 7;
        assert_eq!(brief.findings(2, false), ["7 messages are on disk at the end that should have gone"]);
    }

    #[test]
    fn a_hole_without_a_word_and_messages_of_another_topic_are_found() {
        let mut brief = brief();
        let message = |n: u64| Message(FIRST + n);
        let expired = |from, to| vec![ExpiredRange { from, to }];
        brief.reads(1, &[(4, message(0)), (5, message(1))], &expired(1, 4));
        brief.reads_reborn(&[(1, message(2))]);
        assert_eq!(brief.wrong, Vec::<String>::new());
        brief.reads(1, &[(5, message(1))], &expired(1, 4));
        brief.reads(4, &[(4, message(1))], &[]);
        brief.reads(6, &[(6, message(2))], &[]);
        brief.reads_reborn(&[(1, message(2)), (2, message(3))]);
        brief.reads_reborn(&[(1, message(0))]);
        assert_eq!(brief.wrong.len(), 5, "{:?}", brief.wrong);
    }
}
