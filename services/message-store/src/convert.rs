//! Between what a voter says and what the catalog takes.

use trunkline_ordering::group::{OrderedRun, Predecessor};
use trunkline_ordering::store::{Fact, FactsAt, Held, LogHeld, Report};
use trunkline_types::{GroupId, LogName, NodeId, TopicId};
use trunkline_wire::Message as _;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::{self, fact, session_request};
use trunkline_wire::v1::TopicOptions;

pub(crate) fn log_name(log: Option<internal::LogName>) -> Result<LogName, Malformed> {
    LogName::try_from(log.ok_or(Malformed("log"))?)
}

pub(crate) fn predecessor(from: Option<internal::Predecessor>) -> Option<Predecessor> {
    from.map(|p| Predecessor { ordinal: p.ordinal, end: p.end, overtaking: p.overtaking })
}

pub(crate) fn to_predecessor(from: Option<Predecessor>) -> Option<internal::Predecessor> {
    from.map(|p| internal::Predecessor { ordinal: p.ordinal, end: p.end, overtaking: p.overtaking })
}

/// The number of an ordering group, from its packed form.
pub(crate) fn ordering_group(packed: u32) -> Result<u16, Malformed> {
    match GroupId::from_u32(packed) {
        Some(group) if group == GroupId::ordering(group.number) => Ok(group.number),
        _ => Err(Malformed("group")),
    }
}

pub(crate) fn packed(group: u16) -> u32 {
    GroupId::ordering(group).to_u32()
}

pub(crate) fn options_bytes(options: Option<&TopicOptions>) -> Vec<u8> {
    options.map(TopicOptions::encode_to_vec).unwrap_or_default()
}

pub(crate) fn ordered_runs(runs: &[internal::OrderedRun]) -> Vec<OrderedRun> {
    let run = |run: &internal::OrderedRun| OrderedRun {
        topic: TopicId(run.topic_id),
        first_id: run.first_id,
        count: run.count,
    };
    runs.iter().map(run).collect()
}

pub(crate) fn facts_at(at: internal::FactsAt) -> Result<FactsAt, Malformed> {
    let facts = at.facts.into_iter().map(one_fact).collect::<Result<_, _>>()?;
    Ok(FactsAt { index: at.index, facts })
}

fn one_fact(from: internal::Fact) -> Result<Fact, Malformed> {
    Ok(match from.what.ok_or(Malformed("fact.what"))? {
        fact::What::TopicCreated(created) => {
            let topic = created.topic.ok_or(Malformed("topic_created.topic"))?;
            let options = options_bytes(topic.options.as_ref());
            Fact::TopicCreated { topic: TopicId(topic.topic_id), name: topic.name, options }
        }
        fact::What::TopicDeleted(deleted) => Fact::TopicDeleted { topic: TopicId(deleted.topic_id) },
        fact::What::LogOpened(opened) => Fact::LogOpened {
            number: opened.number,
            log: log_name(opened.log)?,
            predecessor: predecessor(opened.predecessor),
        },
        fact::What::Ordered(ordered) => {
            Fact::Ordered { number: ordered.number, from: ordered.from, runs: ordered_runs(&ordered.runs) }
        }
        fact::What::BootEnded(ended) => Fact::BootsEnded { node: NodeId(ended.node), counter: ended.counter },
        fact::What::LogClosed(closed) => Fact::LogClosed { number: closed.number, end: closed.end },
    })
}

pub(crate) fn report(group: u16, report: Report) -> session_request::What {
    let logs = report
        .logs
        .into_iter()
        .map(|log| internal::LogReport {
            log: Some(log.log.into()),
            from: log.from,
            held: log.held,
            runs: log
                .runs
                .iter()
                .map(|run| internal::Run { topic_id: run.topic.0, count: run.count })
                .collect(),
            predecessor: to_predecessor(log.predecessor),
        })
        .collect();
    let Report { session, first, .. } = report;
    session_request::What::Report(internal::Report { group: packed(group), session, first, logs })
}

pub(crate) fn held(group: u16, held: Held) -> session_request::What {
    let logs = |logs: Vec<LogHeld>| {
        logs.into_iter().map(|log| internal::LogHeld { log: Some(log.log.into()), held: log.held }).collect()
    };
    session_request::What::Held(internal::Held {
        group: packed(group),
        facts_index: held.facts_index,
        lacking: logs(held.lacking),
        ended: logs(held.ended),
    })
}
