//! Records of a topic that no fact has told of: they wait for its creation, and their log with them. A creation that
//! comes late is fine; one that never comes is for an operator to know.

use std::collections::BTreeMap;
use std::time::Duration;

use trunkline_types::limits::UNKNOWN_TOPIC_TOLD_AFTER;
use trunkline_types::{LogName, TopicId};

use super::catalog::Catalog;
use super::log::LogNo;

#[derive(Clone, Copy, Debug)]
struct Wait {
    topic: TopicId,
    since: Duration,
    told: bool,
}

/// The logs that such records hold up.
#[derive(Clone, Debug, Default)]
pub struct UnknownTopics {
    waits: BTreeMap<LogNo, Wait>,
}

impl UnknownTopics {
    /// Looks at all logs. How many records hold up a log, and the logs, with their topics, for which it is time to say so.
    pub fn look(&mut self, catalog: &Catalog, now: Duration) -> (u64, Vec<(LogName, TopicId)>) {
        let before = std::mem::take(&mut self.waits);
        let (mut records, mut due) = (0, Vec::new());
        for no in catalog.all_open_logs() {
            let log = catalog.log(no);
            let (runs, _) = log.runs().take(log.ordered(), log.durable(), 1);
            let is_unknown = |topic| catalog.topic(topic).is_none() && !catalog.is_deleted(topic);
            let Some(first) = runs.first().filter(|first| is_unknown(first.topic)) else {
                continue;
            };
            records += first.count;
            let known = before.get(&no).copied().filter(|wait| wait.topic == first.topic);
            let mut wait = known.unwrap_or(Wait { topic: first.topic, since: now, told: false });
            if !wait.told && now.saturating_sub(wait.since) >= UNKNOWN_TOPIC_TOLD_AFTER {
                wait.told = true;
                due.push((log.name, first.topic));
            }
            self.waits.insert(no, wait);
        }
        (records, due)
    }
}
