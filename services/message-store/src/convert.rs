//! Between what a voter says and what the catalog takes.

use trunkline_ordering::group::{OrderedRun, Predecessor};
use trunkline_ordering::store::{Fact, FactsAt, Held, LogHeld, Report};
use trunkline_types::{GroupId, LogName, NodeId, TopicId};
use trunkline_wire::Message as _;
use trunkline_wire::convert::{Malformed, number};
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

/// A place in a log: sequences and exclusive ends begin at 1.
pub(crate) fn place(said: u64, field: &'static str) -> Result<u64, Malformed> {
    if said > 0 { number(said, field) } else { Err(Malformed(field)) }
}

/// The first sequence and the runs that follow on from it; neither they nor their sum is beyond bounds.
pub(crate) fn ordered(from: &internal::RecordsOrdered) -> Result<(u64, Vec<OrderedRun>), Malformed> {
    let first = place(from.from, "ordered.from")?;
    let mut end = first;
    let mut runs = Vec::with_capacity(from.runs.len());
    for run in &from.runs {
        let count = place(run.count, "ordered.runs.count")?;
        end = number(end + count, "ordered.runs.count")?;
        let first_id = number(run.first_id, "ordered.runs.first_id")?;
        runs.push(OrderedRun { topic: TopicId(run.topic_id), first_id, count });
    }
    Ok((first, runs))
}

pub(crate) fn facts_at(at: internal::FactsAt) -> Result<FactsAt, Malformed> {
    let facts = at.facts.into_iter().map(one_fact).collect::<Result<_, _>>()?;
    let order_time_ms = number(at.order_time_ms, "at.order_time_ms")?;
    Ok(FactsAt { index: number(at.index, "at.index")?, order_time_ms, facts })
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
        fact::What::Ordered(told) => {
            let (from, runs) = ordered(&told)?;
            Fact::Ordered { number: told.number, from, runs }
        }
        fact::What::BootEnded(ended) => Fact::BootsEnded { node: NodeId(ended.node), counter: ended.counter },
        fact::What::LogClosed(closed) => {
            Fact::LogClosed { number: closed.number, end: place(closed.end, "log_closed.end")? }
        }
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

#[cfg(test)]
mod tests {
    use trunkline_types::limits::PEER_NUMBER_MAX;

    use super::*;

    fn told(what: fact::What) -> Result<FactsAt, Malformed> {
        let facts = vec![internal::Fact { what: Some(what) }];
        facts_at(internal::FactsAt { index: 7, facts, ..internal::FactsAt::default() })
    }

    fn runs(from: u64, runs: &[(u64, u64)]) -> Result<FactsAt, Malformed> {
        let run = |&(first_id, count)| internal::OrderedRun { topic_id: 1, first_id, count };
        let runs = runs.iter().map(run).collect();
        told(fact::What::Ordered(internal::RecordsOrdered { number: 1, from, runs }))
    }

    #[test]
    fn numbers_that_would_wrap_are_refused_and_name_their_field() {
        let (max, beyond) = (PEER_NUMBER_MAX, PEER_NUMBER_MAX + 1);
        let count = Err(Malformed("ordered.runs.count"));
        assert!(runs(1, &[(max, 1), (0, max - 2)]).is_ok());
        for (name, said, refused) in [
            ("no sequence", runs(0, &[(1, 1)]), Err(Malformed("ordered.from"))),
            ("a sequence", runs(u64::MAX, &[(1, 1)]), Err(Malformed("ordered.from"))),
            ("an ID", runs(1, &[(beyond, 1)]), Err(Malformed("ordered.runs.first_id"))),
            ("nothing", runs(1, &[(1, 0)]), count.clone()),
            ("a count", runs(1, &[(1, u64::MAX)]), count.clone()),
            ("their sum", runs(1, &[(1, max - 1), (1, max - 1)]), count),
            (
                "an end",
                told(fact::What::LogClosed(internal::LogClosed { number: 1, end: u64::MAX })),
                Err(Malformed("log_closed.end")),
            ),
            (
                "an index",
                facts_at(internal::FactsAt { index: u64::MAX, ..internal::FactsAt::default() }),
                Err(Malformed("at.index")),
            ),
            (
                "a time",
                facts_at(internal::FactsAt { order_time_ms: u64::MAX, ..internal::FactsAt::default() }),
                Err(Malformed("at.order_time_ms")),
            ),
        ] {
            assert_eq!(said, refused, "{name}");
        }
    }
}
