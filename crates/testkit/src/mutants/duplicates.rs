//! Broken ways to tell duplicates: the entries are changed on their way into the state machine, on all voters alike, so
//! that it decides as the shortcut would.

use trunkline_ordering::group::{Entry, Kind, LogPart, LogReference, PartRun, ProducerReference, Run, State};
use trunkline_types::{Bucket, NodeId, Produced, ProducerId, TopicId};

/// Entries after which a producer is taken for forgotten.
const FORGOTTEN_AFTER: u64 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dedupe {
    /// Whatever is not above the highest sequence seen is a duplicate.
    HighWater,
    /// Each coordinator knows what went through itself.
    ByCoordinator,
    /// What was pushed some entries ago is forgotten, whoever may still hold a repetition.
    Forgets,
}

impl Dedupe {
    /// The entry at `index` as the shortcut has it. `state` is what the changed entries before it have made.
    pub(super) fn changed(self, index: u64, entry: Entry, state: &State) -> Entry {
        let Entry::Assign(mut assignment) = entry else { return entry };
        for part in &mut assignment.logs {
            self.change(index, part, state);
        }
        Entry::Assign(assignment)
    }

    fn change(self, index: u64, part: &mut LogPart, state: &State) {
        let (open, name) = match part.log {
            LogReference::Number(number) => match state.logs().get(number) {
                Some(open) => (Some(open), open.name),
                None => return,
            },
            LogReference::Name { name, .. } => (state.logs().named(&name), name),
        };
        let ordered = open.map_or(1, |open| open.ordered);
        if part.from > ordered {
            return;
        }
        let mut skip = ordered - part.from;
        let mut before = open.and_then(|open| open.last);
        let mut runs = Vec::new();
        for run in &part.runs {
            let skipped = skip.min(run.count);
            skip -= skipped;
            let count = run.count - skipped;
            let Some(known) = resolved(state, name.bucket, before, run.kind, skipped) else { break };
            if count == 0 {
                continue;
            }
            let known = Run { count, ..known };
            // What is as the record before it was changed with that one.
            let changed = match run.kind {
                Kind::AsBefore => vec![known],
                _ => self.runs(index, name.node, known, state),
            };
            before = changed.last().map(|last| Run { count: 1, ..last.without(last.count - 1) });
            runs.extend(changed.into_iter().map(explicit));
        }
        (part.from, part.runs) = (ordered, runs);
    }

    fn runs(self, index: u64, origin: NodeId, run: Run, state: &State) -> Vec<Run> {
        let Some(of) = run.produced else { return vec![run] };
        match self {
            Self::ByCoordinator => vec![renamed(run, of, origin.0)],
            Self::Forgets => vec![renamed(run, of, index / FORGOTTEN_AFTER)],
            Self::HighWater => {
                let number = state.producers().number(run.topic, &of.producer);
                let known = number.and_then(|number| state.producers().get(run.topic, number));
                let Some(highest) = known.and_then(|known| known.sequences.last()) else { return vec![run] };
                let below = (highest + 1).saturating_sub(of.sequence).min(run.count);
                let taken_for = Run { count: 1, produced: Some(Produced { sequence: highest, ..of }), ..run };
                let mut runs: Vec<Run> = (0..below).map(|_| taken_for).collect();
                if below < run.count {
                    runs.push(run.without(below));
                }
                runs
            }
        }
    }
}

/// What a run's records are, from the first that is not skipped on.
fn resolved(state: &State, bucket: Bucket, before: Option<Run>, kind: Kind, skipped: u64) -> Option<Run> {
    let (topic, produced) = match kind {
        Kind::AsBefore => (before?.topic, before?.next()),
        Kind::Topic(counter) => (TopicId::new(counter, bucket), None),
        Kind::Produced { topic_counter, producer, sequence } => {
            let topic = TopicId::new(topic_counter, bucket);
            let producer = match producer {
                ProducerReference::Id(id) => id,
                ProducerReference::Number(number) => state.producers().get(topic, number)?.id,
            };
            (topic, Some(Produced { producer, sequence: sequence + skipped }))
        }
    };
    Some(Run { topic, count: 1, produced })
}

fn explicit(run: Run) -> PartRun {
    let topic_counter = run.topic.counter();
    let kind = run.produced.map_or(Kind::Topic(topic_counter), |of| {
        let producer = ProducerReference::Id(of.producer);
        Kind::Produced { topic_counter, producer, sequence: of.sequence }
    });
    PartRun { kind, count: run.count }
}

/// The same messages of another producer.
fn renamed(run: Run, of: Produced, salt: u64) -> Run {
    let id = u128::from_be_bytes(of.producer.0) ^ u128::from(salt);
    Run { produced: Some(Produced { producer: ProducerId(id.to_be_bytes()), ..of }), ..run }
}
