//! A subscription as it was acquired, for its [`Dispatcher`](trunkline_delivery::dispatcher::Dispatcher).

use std::time::Duration;

use trunkline_delivery::dispatcher::{Lease, subscription_check};
use trunkline_types::limits::ACK_DEADLINE_DEFAULT;
use trunkline_types::{FencingToken, Generation};
use trunkline_wire::internal::StoredSubscription;

use crate::positions::Key;

pub(crate) fn lease(key: &Key, subscription: &StoredSubscription) -> Lease {
    let ack_deadline = subscription
        .options
        .as_ref()
        .and_then(|options| options.ack_deadline)
        .and_then(|deadline| Duration::try_from(deadline).ok())
        .unwrap_or(ACK_DEADLINE_DEFAULT);
    Lease {
        check: subscription_check(key.topic, &key.consumer),
        instance: subscription.instance,
        generation: Generation(subscription.generation),
        token: FencingToken(subscription.fencing_token),
        start_id: subscription.start_id,
        acknowledged: subscription.acknowledged.iter().map(|range| range.from..range.to).collect(),
        ack_deadline_ms: u64::try_from(ack_deadline.as_millis()).unwrap_or(u64::MAX),
    }
}
