//! What the position service says of a subscription, as its dispatcher needs it.

use std::time::Duration;

use trunkline_delivery::dispatcher::{Lease, Policy, subscription_check};
use trunkline_delivery::position::{AckMode, Counts, Retry};
use trunkline_types::limits::ACK_DEADLINE_DEFAULT;
use trunkline_types::{FencingToken, Generation, TopicName};
use trunkline_wire::internal::StoredSubscription;
use trunkline_wire::v1;

use crate::positions::Key;

pub(crate) fn lease(key: &Key, subscription: &StoredSubscription) -> Lease {
    let options = subscription.options.clone().unwrap_or_default();
    let counts = subscription.delivery_counts.iter();
    Lease {
        check: subscription_check(key.topic, &key.consumer),
        instance: subscription.instance,
        generation: Generation(subscription.generation),
        token: FencingToken(subscription.fencing_token),
        start_id: subscription.start_id,
        acknowledged: subscription.acknowledged.iter().map(|range| range.from..range.to).collect(),
        counts: counts
            .map(|one| (one.message_id, Counts { deliveries: one.deliveries, nacks: one.nacks }))
            .collect(),
        policy: policy(&options),
    }
}

/// Where messages go that nobody can process.
pub(crate) fn dead_letter_topic(subscription: &StoredSubscription) -> Option<TopicName> {
    let to = subscription.options.as_ref()?.dead_letter.as_ref()?;
    TopicName::new(to.topic.clone()).ok()
}

fn policy(options: &v1::SubscriptionOptions) -> Policy {
    let ms = |said: Option<prost_types::Duration>| {
        let said = said.and_then(|said| Duration::try_from(said).ok());
        said.map(|said| u64::try_from(said.as_millis()).unwrap_or(u64::MAX))
    };
    let short_ms = |said| u32::try_from(ms(said).unwrap_or(0)).unwrap_or(u32::MAX);
    let retry = options.retry.as_ref();
    Policy {
        ack_mode: match options.ack_mode() {
            v1::AckMode::Unspecified | v1::AckMode::OnNextPop => AckMode::OnNextPop,
            v1::AckMode::Explicit => AckMode::Explicit,
            v1::AckMode::Immediate => AckMode::Immediate,
        },
        ack_deadline_ms: ms(options.ack_deadline).unwrap_or(ACK_DEADLINE_DEFAULT.as_secs() * 1_000),
        retry: retry.map_or_else(Retry::default, |retry| Retry {
            min_ms: short_ms(retry.min),
            max_ms: short_ms(retry.max),
        }),
        attempts_max: options.dead_letter.as_ref().map(|to| to.attempts),
    }
}
