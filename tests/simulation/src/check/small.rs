//! Small histories for the tests of checks: two stores in each of three datacenters, one topic.

use std::time::Duration;

use trunkline_wire::v1::AckLevel;

use crate::oracle::{
    Acked, Copies, Deployment, Message, Name, Outcome, Push, Record, Sighting, Subscription,
};

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// On the first store of so many datacenters.
pub(super) fn copies(places: &[(usize, usize)]) -> Copies {
    Copies(places.to_vec())
}

pub(super) fn record() -> Record {
    let names = ["nyc", "mci", "sea"].map(str::to_owned).to_vec();
    let stores = |name: &String| vec![format!("{name}-message-store-1"), format!("{name}-message-store-2")];
    let stores = names.iter().map(stores).collect();
    Record::new(Deployment { names, stores })
}

/// One more push, by PushStream 1 of nyc, sent and acknowledged at these times.
pub(super) fn push(record: &mut Record, sent: u64, ended: u64, outcome: Outcome) -> Message {
    record.pushes.push(Push {
        topic: 0,
        datacenter: 0,
        publisher: "nyc-0".to_owned(),
        stream: Some(1),
        level: AckLevel::Local,
        produced: None,
        sent: ms(sent),
        ended: Some(ms(ended)),
        outcome,
    });
    Message(record.pushes.len() as u64 - 1)
}

pub(super) fn acked(reached: AckLevel, id: Option<u64>) -> Outcome {
    let copies = copies(&[(0, 0), (0, 1), (1, 0)]);
    Outcome::Acked(Acked { reached, id, copies, ..Acked::default() })
}

pub(super) fn local(record: &mut Record, sent: u64, ended: u64) -> Message {
    push(record, sent, ended, acked(AckLevel::Local, None))
}

pub(super) fn named(record: &mut Record, id: u64, message: Message) {
    let sighting = Sighting {
        message,
        at: ms(1_000),
        by: "a pop".to_owned(),
        copies: copies(&[(0, 0), (0, 1), (1, 0)]),
    };
    record.named.entry(Name { topic: 0, id }).or_default().push(sighting);
}

/// A consumer that began at the first ID.
pub(super) fn subscription(record: &mut Record) -> &mut Subscription {
    let subscription = record.subscriptions.entry((0, "alone".to_owned())).or_default();
    subscription.began = Some((ms(0), 0));
    subscription
}
