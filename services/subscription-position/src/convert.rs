//! Between messages and [`trunkline_delivery::position`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use trunkline_delivery::position::{
    AckMode, Counts, DeadLetter, DispatcherNode, Options, Retry, Start, Subscription,
};
use trunkline_types::limits::{
    ACK_DEADLINE_DEFAULT, ACK_DEADLINE_MAX, ACK_DEADLINE_MIN, ACKNOWLEDGED_RANGES_MAX,
    DEAD_LETTER_ATTEMPTS_MAX, DELIVERY_COUNTS_MAX, NAME_BYTES_MAX, RETRY_DELAY_MAX,
};
use trunkline_types::{ConsumerName, IntervalSet, NodeId, TopicName};
use trunkline_wire::convert::Malformed;
use trunkline_wire::{internal, v1};

/// `HOST:PORT`: a DNS name and a port.
const ADDRESS_BYTES_MAX: usize = 262;

pub(crate) fn topic(name: String) -> Result<TopicName, Malformed> {
    TopicName::new(name).map_err(|_| Malformed("topic"))
}

pub(crate) fn consumer(name: String) -> Result<ConsumerName, Malformed> {
    ConsumerName::new(name).map_err(|_| Malformed("consumer"))
}

/// What is not set has its default, so that it compares equal to the default said aloud.
pub(crate) fn options(options: Option<v1::SubscriptionOptions>) -> Result<Options, Malformed> {
    let options = options.unwrap_or_default();
    let start = match options.start.and_then(|start| start.at) {
        None | Some(v1::start::At::Latest(_)) => Start::Latest,
        Some(v1::start::At::Earliest(_)) => Start::Earliest,
        Some(v1::start::At::MessageId(id)) => Start::Id(id),
    };
    let ack_deadline = match options.ack_deadline {
        None => ACK_DEADLINE_DEFAULT,
        Some(duration) => Duration::try_from(duration).map_err(|_| Malformed("options.ack_deadline"))?,
    };
    if !(ACK_DEADLINE_MIN..=ACK_DEADLINE_MAX).contains(&ack_deadline) {
        return Err(Malformed("options.ack_deadline"));
    }
    let ack_deadline_ms =
        u32::try_from(ack_deadline.as_millis()).map_err(|_| Malformed("options.ack_deadline"))?;
    let ack_mode = match options.ack_mode() {
        v1::AckMode::Unspecified | v1::AckMode::OnNextPop => AckMode::OnNextPop,
        v1::AckMode::Explicit => AckMode::Explicit,
        v1::AckMode::Immediate => AckMode::Immediate,
    };
    let retry = options.retry.map(retry).transpose()?.unwrap_or_default();
    let dead_letter = options.dead_letter.map(dead_letter).transpose()?;
    Ok(Options { start, ack_mode, ack_deadline_ms, retry, dead_letter })
}

fn retry(said: v1::Retry) -> Result<Retry, Malformed> {
    let ms = |said: Option<prost_types::Duration>| {
        let said =
            Duration::try_from(said.unwrap_or_default()).ok().filter(|delay| *delay <= RETRY_DELAY_MAX);
        said.and_then(|delay| u32::try_from(delay.as_millis()).ok()).ok_or(Malformed("options.retry"))
    };
    let retry = Retry { min_ms: ms(said.min)?, max_ms: ms(said.max)? };
    if retry.min_ms <= retry.max_ms { Ok(retry) } else { Err(Malformed("options.retry")) }
}

fn dead_letter(said: v1::DeadLetter) -> Result<DeadLetter, Malformed> {
    if !(1..=DEAD_LETTER_ATTEMPTS_MAX).contains(&said.attempts) {
        return Err(Malformed("options.dead_letter"));
    }
    Ok(DeadLetter { topic: topic(said.topic)?, attempts_max: said.attempts })
}

/// As clients write them.
pub(crate) fn in_words(options: &Options) -> String {
    let start = match options.start {
        Start::Latest => "latest".to_owned(),
        Start::Earliest => "earliest".to_owned(),
        Start::Id(id) => format!("message {id}"),
    };
    let ack_mode = match options.ack_mode {
        AckMode::OnNextPop => "ON_NEXT_POP",
        AckMode::Explicit => "EXPLICIT",
        AckMode::Immediate => "IMMEDIATE",
    };
    let seconds = |ms: u32| Duration::from_millis(ms.into()).as_secs_f64();
    let deadline = seconds(options.ack_deadline_ms);
    let mut words = format!("start {start}, ack mode {ack_mode}, ack deadline {deadline} s");
    if options.retry != Retry::default() {
        let Retry { min_ms, max_ms } = options.retry;
        words += &format!(", retry after {} s to {} s", seconds(min_ms), seconds(max_ms));
    }
    if let Some(DeadLetter { topic, attempts_max }) = &options.dead_letter {
        words += &format!(", dead letters to {topic} after {attempts_max} attempts");
    }
    words
}

pub(crate) fn dispatcher(dispatcher: Option<internal::Dispatcher>) -> Result<DispatcherNode, Malformed> {
    let dispatcher = dispatcher.ok_or(Malformed("dispatcher"))?;
    let fits = dispatcher.datacenter.len() <= NAME_BYTES_MAX && dispatcher.address.len() <= ADDRESS_BYTES_MAX;
    if dispatcher.node == 0 || dispatcher.address.is_empty() || !fits {
        return Err(Malformed("dispatcher"));
    }
    let internal::Dispatcher { node, datacenter, address } = dispatcher;
    Ok(DispatcherNode { node: NodeId(node), datacenter, address })
}

pub(crate) fn ranges(ranges: &[internal::Range]) -> Result<IntervalSet, Malformed> {
    if ranges.len() > ACKNOWLEDGED_RANGES_MAX || ranges.iter().any(|range| range.from >= range.to) {
        return Err(Malformed("acknowledged"));
    }
    Ok(ranges.iter().map(|range| range.from..range.to).collect())
}

pub(crate) fn counts(counts: &[internal::DeliveryCount]) -> Result<BTreeMap<u64, Counts>, Malformed> {
    if counts.len() > DELIVERY_COUNTS_MAX {
        return Err(Malformed("delivery_counts"));
    }
    let count = |one: &internal::DeliveryCount| {
        (one.message_id, Counts { deliveries: one.deliveries, nacks: one.nacks })
    };
    Ok(counts.iter().map(count).collect())
}

fn said_counts(counts: &BTreeMap<u64, Counts>) -> Vec<internal::DeliveryCount> {
    let said = |(&message_id, counts): (&u64, &Counts)| internal::DeliveryCount {
        message_id,
        deliveries: counts.deliveries,
        nacks: counts.nacks,
    };
    counts.iter().map(said).collect()
}

/// All that is remembered.
pub(crate) fn stored(subscription: &Subscription) -> internal::StoredSubscription {
    let range = |range: Range<u64>| internal::Range { from: range.start, to: range.end };
    let acknowledged = subscription.acknowledged.iter().map(range).collect();
    let delivery_counts = said_counts(&subscription.counts);
    internal::StoredSubscription { delivery_counts, ..with_acknowledged(subscription, acknowledged) }
}

/// For lists: acknowledged IDs only up to the position.
pub(crate) fn listed(subscription: &Subscription) -> internal::StoredSubscription {
    let (from, to) = (subscription.start_id, subscription.position() + 1);
    let acknowledged = if from < to { vec![internal::Range { from, to }] } else { Vec::new() };
    with_acknowledged(subscription, acknowledged)
}

fn with_acknowledged(
    subscription: &Subscription,
    acknowledged: Vec<internal::Range>,
) -> internal::StoredSubscription {
    let dispatcher = subscription.dispatcher.as_ref().map(|dispatcher| internal::Dispatcher {
        node: dispatcher.node.0,
        datacenter: dispatcher.datacenter.clone(),
        address: dispatcher.address.clone(),
    });
    internal::StoredSubscription {
        topic_id: subscription.topic_id.0,
        topic: subscription.topic.as_str().to_owned(),
        consumer: subscription.consumer.as_str().to_owned(),
        instance: subscription.instance,
        options: Some(said(&subscription.options)),
        generation: subscription.generation.0,
        start_id: subscription.start_id,
        acknowledged,
        dispatcher,
        fencing_token: subscription.token.0,
        delivery_counts: Vec::new(),
    }
}

fn said(options: &Options) -> v1::SubscriptionOptions {
    let at = match options.start {
        Start::Latest => v1::start::At::Latest(v1::Latest {}),
        Start::Earliest => v1::start::At::Earliest(v1::Earliest {}),
        Start::Id(id) => v1::start::At::MessageId(id),
    };
    let duration = |ms: u32| prost_types::Duration::try_from(Duration::from_millis(ms.into())).ok();
    let ack_mode = match options.ack_mode {
        AckMode::OnNextPop => v1::AckMode::OnNextPop,
        AckMode::Explicit => v1::AckMode::Explicit,
        AckMode::Immediate => v1::AckMode::Immediate,
    };
    let Retry { min_ms, max_ms } = options.retry;
    let dead_letter = options.dead_letter.as_ref();
    v1::SubscriptionOptions {
        start: Some(v1::Start { at: Some(at) }),
        ack_deadline: duration(options.ack_deadline_ms),
        ack_mode: ack_mode.into(),
        retry: (options.retry != Retry::default())
            .then(|| v1::Retry { min: duration(min_ms), max: duration(max_ms) }),
        dead_letter: dead_letter
            .map(|to| v1::DeadLetter { topic: to.topic.as_str().to_owned(), attempts: to.attempts_max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_not_set_equal_the_defaults_said_aloud() {
        let defaults = options(None).unwrap();
        assert_eq!(options(Some(said(&defaults))), Ok(defaults));
        let retry = Retry { min_ms: 100, max_ms: 60_000 };
        let topic = TopicName::new("dead").unwrap();
        for ack_mode in [AckMode::OnNextPop, AckMode::Explicit, AckMode::Immediate] {
            let dead_letter = Some(DeadLetter { topic: topic.clone(), attempts_max: 5 });
            let all = Options { start: Start::Id(7), ack_mode, ack_deadline_ms: 1_000, retry, dead_letter };
            assert_eq!(options(Some(said(&all))), Ok(all));
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_malformed() {
        let deadline = |seconds| v1::SubscriptionOptions {
            start: None,
            ack_deadline: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..v1::SubscriptionOptions::default()
        };
        for seconds in [-1, 0, 601] {
            assert!(options(Some(deadline(seconds))).is_err(), "{seconds}");
        }
        let retry = |min, max| v1::Retry {
            min: Some(prost_types::Duration { seconds: min, nanos: 0 }),
            max: Some(prost_types::Duration { seconds: max, nanos: 0 }),
        };
        for (min, max) in [(2, 1), (1, 3_601), (-1, 1)] {
            let retry = Some(retry(min, max));
            assert!(options(Some(v1::SubscriptionOptions { retry, ..Default::default() })).is_err(), "{min}");
        }
        for attempts in [0, 1_001] {
            let dead_letter = Some(v1::DeadLetter { topic: "dead".to_owned(), attempts });
            assert!(options(Some(v1::SubscriptionOptions { dead_letter, ..Default::default() })).is_err());
        }
        assert!(ranges(&[internal::Range { from: 3, to: 3 }]).is_err());
        assert!(dispatcher(None).is_err());
    }
}
