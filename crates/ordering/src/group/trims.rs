//! How messages go: by a committed trim of their topic, or, where a record is no message, once every datacenter knows.
//!
//! **Invariant** (I10): what is trimmed by age is as old as that by the order time of the entry that trims it; what is
//! proposed under other options of the topic, or beyond what is ordered, is refused.

use serde::{Deserialize, Serialize};
use trunkline_types::TopicId;

use super::entry::{Trim, TrimPart};
use super::fact::Fact;
use super::retention::Retention;
use super::state::{Answer, State};
use super::topics::Topic;

/// What is decided not to be a message, or to be one no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// The last index that decided records to be no message, or deleted a topic.
    last_void: u64,
    /// Facts up to here are on disk in every datacenter.
    everywhere: u64,
}

impl Gone {
    /// Whether the entry at `index` has decided something to be no message.
    pub(super) fn void(&mut self, index: u64, is_any: bool) {
        if is_any {
            self.last_void = index;
        }
    }

    /// Facts up to here are on disk in every datacenter, as was committed.
    pub fn everywhere(&self) -> u64 {
        self.everywhere
    }

    /// Up to where facts must be everywhere before all that is no message may go; `None`: it may.
    pub fn waits_for(&self) -> Option<u64> {
        (self.last_void > self.everywhere).then_some(self.last_void)
    }
}

impl Topic {
    /// The IDs below it are no messages any more by the topic's own age, at this order time. `acknowledged`: the IDs
    /// below it are, by every subscription; `None`: that is not known.
    pub fn aged(&self, order_time_ms: u64, acknowledged: Option<u64>) -> u64 {
        let by_age = self.older_than(self.retention.age_ms, order_time_ms);
        self.unless_waited_for(by_age, order_time_ms, acknowledged)
    }

    /// So much of what is beyond a limit may go.
    pub fn unless_waited_for(&self, below: u64, order_time_ms: u64, acknowledged: Option<u64>) -> u64 {
        if self.retention.until_acknowledged_ms == 0 {
            return below;
        }
        let at_last = self.older_than(self.retention.age_at_most_ms(), order_time_ms);
        below.min(acknowledged.unwrap_or(1)).max(at_last)
    }

    /// Whether a trim below this ID can be right under its options.
    fn may_trim(&self, below: u64, order_time_ms: u64) -> bool {
        let by_age = || below <= self.older_than(self.retention.age_ms, order_time_ms);
        below > self.trimmed && below <= self.next_id && (self.retention.bytes > 0 || by_age())
    }
}

impl State {
    pub fn gone(&self) -> &Gone {
        &self.gone
    }

    pub(super) fn configure_topic(
        &mut self,
        index: u64,
        id: TopicId,
        configured: u64,
        options: &[u8],
        retention: Retention,
        facts: &mut Vec<Fact>,
    ) -> Answer {
        let Some(topic) = self.topics.get_mut(id) else { return Answer::NoTopic };
        let taken = topic.configured == configured;
        if taken && (&*topic.options, topic.retention) != (options, retention) {
            (topic.options, topic.retention, topic.configured) = (options.into(), retention, index);
            facts.push(Fact::TopicConfigured { topic: id, options: options.to_vec(), retention });
        }
        Answer::Configured { id, options: topic.options.to_vec(), taken }
    }

    pub(super) fn trim(&mut self, trim: &Trim, facts: &mut Vec<Fact>) -> Answer {
        self.order_time_ms = self.order_time_ms.max(trim.order_time_ms);
        for &TrimPart { topic: id, configured, below } in &trim.topics {
            let order_time_ms = self.order_time_ms;
            let topic = self.topics.get_mut(id).filter(|topic| topic.configured == configured);
            if let Some(topic) = topic.filter(|topic| topic.may_trim(below, order_time_ms)) {
                topic.trimmed = below;
                topic.ages.forget_below(below);
                facts.push(Fact::Trimmed { topic: id, below });
            }
        }
        if trim.everywhere > self.gone.everywhere && trim.everywhere <= self.applied {
            self.gone.everywhere = trim.everywhere;
            facts.push(Fact::Everywhere { index: trim.everywhere });
        }
        Answer::Noted(facts.len() as u64)
    }
}
