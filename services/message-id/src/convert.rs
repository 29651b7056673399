//! Between the wire and the decisions.

use prost::Message as _;
use trunkline_ordering::group::{
    Fact, FactsAt, HeldVector, LogReport, OrderedRun, Predecessor, Report, Run, Topic,
};
use trunkline_types::{Bucket, LogName, TopicId};
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal::{self, fact};
use trunkline_wire::v1;

fn name(log: Option<internal::LogName>) -> Result<LogName, Malformed> {
    log.ok_or(Malformed("log"))?.try_into()
}

pub(crate) fn report(report: internal::Report) -> Result<Report, Malformed> {
    let logs = report.logs.into_iter().map(log_report).collect::<Result<_, _>>()?;
    Ok(Report { session: report.session, first: report.first, logs })
}

fn log_report(report: internal::LogReport) -> Result<LogReport, Malformed> {
    let run =
        |run: internal::Run| Ok(Run { topic: TopicId(run.topic_id), count: number(run.count, "run.count")? });
    Ok(LogReport {
        log: name(report.log)?,
        predecessor: report.predecessor.map(predecessor).transpose()?,
        from: number(report.from, "report.from")?,
        held: number(report.held, "report.held")?,
        runs: report.runs.into_iter().map(run).collect::<Result<_, Malformed>>()?,
    })
}

fn predecessor(predecessor: internal::Predecessor) -> Result<Predecessor, Malformed> {
    let internal::Predecessor { ordinal, end, overtaking } = predecessor;
    Ok(Predecessor { ordinal, end: number(end, "predecessor.end")?, overtaking })
}

pub(crate) fn held(held: internal::Held) -> Result<HeldVector, Malformed> {
    let ended = held.ended.into_iter().map(|log| Ok((name(log.log)?, number(log.held, "ended.held")?)));
    Ok(HeldVector {
        facts_index: number(held.facts_index, "held.facts_index")?,
        ended: ended.collect::<Result<_, Malformed>>()?,
        lacking: held.lacking.into_iter().map(|log| name(log.log)).collect::<Result<_, Malformed>>()?,
    })
}

/// The facts of one index that concern a store; `None` where nothing does.
pub(crate) fn facts_at(at: &FactsAt, concerns: impl Fn(Bucket) -> bool) -> Option<internal::FactsAt> {
    let concerned = at.facts.iter().filter(|fact| fact.bucket().is_none_or(&concerns));
    let facts: Vec<internal::Fact> = concerned.map(told).collect();
    let FactsAt { index, order_time_ms, .. } = *at;
    (!facts.is_empty()).then_some(internal::FactsAt { index, facts, order_time_ms })
}

pub(crate) fn told(told: &Fact) -> internal::Fact {
    let what =
        match told {
            Fact::TopicCreated { topic, name, options } => fact::What::TopicCreated(internal::TopicCreated {
                topic: Some(topic_message(*topic, name, options)),
            }),
            Fact::TopicDeleted { topic } => {
                fact::What::TopicDeleted(internal::TopicDeleted { topic_id: topic.0 })
            }
            Fact::LogOpened { number, log, predecessor } => fact::What::LogOpened(internal::LogOpened {
                number: *number,
                log: Some((*log).into()),
                predecessor: predecessor.map(|Predecessor { ordinal, end, overtaking }| {
                    internal::Predecessor { ordinal, end, overtaking }
                }),
            }),
            Fact::Ordered { number, from, runs, .. } => fact::What::Ordered(internal::RecordsOrdered {
                number: *number,
                from: *from,
                runs: runs.iter().map(ordered_run).collect(),
            }),
            Fact::BootsEnded { node, counter } => {
                fact::What::BootEnded(internal::BootEnded { node: node.0, counter: *counter })
            }
            Fact::LogClosed { number, end, .. } => {
                fact::What::LogClosed(internal::LogClosed { number: *number, end: *end })
            }
        };
    internal::Fact { what: Some(what) }
}

fn ordered_run(run: &OrderedRun) -> internal::OrderedRun {
    internal::OrderedRun { topic_id: run.topic.0, first_id: run.first_id, count: run.count }
}

/// Options as they are committed: equal options are equal bytes.
pub(crate) fn options_bytes(options: &v1::TopicOptions) -> Vec<u8> {
    let mut options = options.clone();
    if options.default_ack_level == i32::from(v1::AckLevel::Unspecified) {
        options.default_ack_level = v1::AckLevel::Local.into();
    }
    options.encode_to_vec()
}

pub(crate) fn topic(topic: &Topic) -> v1::Topic {
    topic_message(topic.id, &topic.name, &topic.options)
}

pub(crate) fn topic_message(id: TopicId, name: &str, options: &[u8]) -> v1::Topic {
    // What was committed came from `options_bytes`; a later version's fields are left out.
    let options = v1::TopicOptions::decode(options).unwrap_or_default();
    v1::Topic { name: name.to_owned(), topic_id: id.0, options: Some(options) }
}

#[cfg(test)]
mod tests {
    use trunkline_types::limits::PEER_NUMBER_MAX;
    use trunkline_types::{Boot, Lane, NodeId, Ordinal};

    use super::*;

    fn log() -> Option<internal::LogName> {
        let boot = Boot { counter: 1, random: 2 };
        let name = LogName { bucket: Bucket(1), node: NodeId(3), boot, lane: Lane(0), ordinal: Ordinal(1) };
        Some(name.into())
    }

    #[test]
    fn a_report_or_held_vector_with_a_number_that_nobody_can_have_counted_to_is_refused() {
        let of = |from, held, count, end| {
            let predecessor = internal::Predecessor { ordinal: 1, end, overtaking: false };
            let runs = vec![internal::Run { topic_id: 1, count }];
            let log = internal::LogReport { log: log(), from, held, runs, predecessor: Some(predecessor) };
            report(internal::Report { group: 1, session: u64::MAX, first: true, logs: vec![log] }).err()
        };
        let of_held = |facts_index, at| {
            let logs = vec![internal::LogHeld { log: log(), held: at }];
            held(internal::Held { group: 1, facts_index, lacking: Vec::new(), ended: logs }).err()
        };
        let max = PEER_NUMBER_MAX;
        assert_eq!((of(max, max, max, max), of_held(max, max)), (None, None));
        for beyond in [max + 1, u64::MAX] {
            let refused = [
                (of(beyond, 1, 1, 1), "report.from"),
                (of(1, beyond, 1, 1), "report.held"),
                (of(1, 1, beyond, 1), "run.count"),
                (of(1, 1, 1, beyond), "predecessor.end"),
                (of_held(beyond, 1), "held.facts_index"),
                (of_held(1, beyond), "ended.held"),
            ];
            for (error, what) in refused {
                assert_eq!(error, Some(Malformed(what)), "{beyond}");
            }
        }
    }

    #[test]
    fn what_a_store_lacks_is_taken() {
        let logs = vec![internal::LogHeld { log: log(), held: 2 }];
        let lacking = internal::Held { group: 1, facts_index: 5, lacking: logs, ended: Vec::new() };
        let name = name(log()).unwrap();
        assert_eq!(held(lacking).unwrap().lacking.into_iter().collect::<Vec<_>>(), [name]);
    }
}
