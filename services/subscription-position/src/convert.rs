//! Between messages and [`trunkline_delivery::position`].

use std::ops::Range;
use std::time::Duration;

use trunkline_delivery::position::{AckMode, DispatcherNode, Options, Start, Subscription};
use trunkline_types::limits::{
    ACK_DEADLINE_DEFAULT, ACK_DEADLINE_MAX, ACK_DEADLINE_MIN, ACKNOWLEDGED_RANGES_MAX, NAME_BYTES_MAX,
};
use trunkline_types::{ConsumerName, IntervalSet, NodeId, TopicName};
use trunkline_wire::convert::{Malformed, timestamp};
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
        Some(v1::start::At::Time(at)) => {
            Start::Time(timestamp::to_ms(&at).ok_or(Malformed("options.start.time"))?)
        }
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
    Ok(Options { start, ack_mode: AckMode::OnNextPop, ack_deadline_ms })
}

/// As clients write them.
pub(crate) fn in_words(options: &Options) -> String {
    let start = match options.start {
        Start::Latest => "latest".to_owned(),
        Start::Earliest => "earliest".to_owned(),
        Start::Id(id) => format!("message {id}"),
        Start::Time(ms) => format!("the time {ms} ms after 1970"),
    };
    let ack_mode = match options.ack_mode {
        AckMode::OnNextPop => "ON_NEXT_POP",
    };
    let ack_deadline = Duration::from_millis(options.ack_deadline_ms.into());
    format!("start {start}, ack mode {ack_mode}, ack deadline {} s", ack_deadline.as_secs_f64())
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

/// All that is remembered.
pub(crate) fn stored(subscription: &Subscription) -> internal::StoredSubscription {
    let range = |range: Range<u64>| internal::Range { from: range.start, to: range.end };
    let acknowledged = subscription.acknowledged.iter().map(range).collect();
    with_acknowledged(subscription, acknowledged)
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
    let dispatcher = subscription.dispatcher.as_ref().map(to_dispatcher);
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
        revision: subscription.revision,
        last_seek: subscription.last_seek,
    }
}

pub(crate) fn to_dispatcher(dispatcher: &DispatcherNode) -> internal::Dispatcher {
    internal::Dispatcher {
        node: dispatcher.node.0,
        datacenter: dispatcher.datacenter.clone(),
        address: dispatcher.address.clone(),
    }
}

fn said(options: &Options) -> v1::SubscriptionOptions {
    let at = match options.start {
        Start::Latest => v1::start::At::Latest(v1::Latest {}),
        Start::Earliest => v1::start::At::Earliest(v1::Earliest {}),
        Start::Id(id) => v1::start::At::MessageId(id),
        Start::Time(ms) => v1::start::At::Time(timestamp::from_ms(ms)),
    };
    let ack_deadline = Duration::from_millis(options.ack_deadline_ms.into());
    v1::SubscriptionOptions {
        start: Some(v1::Start { at: Some(at) }),
        ack_deadline: prost_types::Duration::try_from(ack_deadline).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_not_set_equal_the_defaults_said_aloud() {
        let defaults = options(None).unwrap();
        assert_eq!(options(Some(said(&defaults))), Ok(defaults));
        let id = Options { start: Start::Id(7), ack_mode: AckMode::OnNextPop, ack_deadline_ms: 1_000 };
        assert_eq!(options(Some(said(&id))), Ok(id.clone()));
        let time = Options { start: Start::Time(1_800_000_000_250), ..id };
        assert_eq!(options(Some(said(&time))), Ok(time));
    }

    #[test]
    fn what_is_out_of_bounds_is_malformed() {
        let deadline = |seconds| v1::SubscriptionOptions {
            start: None,
            ack_deadline: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        for seconds in [-1, 0, 601] {
            assert!(options(Some(deadline(seconds))).is_err(), "{seconds}");
        }
        assert!(ranges(&[internal::Range { from: 3, to: 3 }]).is_err());
        assert!(dispatcher(None).is_err());
    }
}
