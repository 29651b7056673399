//! Reads topics in its own datacenter, without a subscription, and now and then again from an earlier ID.

use std::sync::Arc;
use std::time::Duration;

use trunkline_wire::v1::{ReadRequest, pop_service};

use super::{AFTER_ERROR, Shared, large};
use crate::plan::index;

const ASK: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(400);

pub(super) async fn run(shared: Arc<Shared>, datacenter: usize) {
    let random = shared.random(&format!("reader {datacenter}"));
    let client = shared.clients[datacenter][datacenter].clone();
    let mut next = vec![1; shared.plan.topics];
    loop {
        tokio::time::sleep(PAUSE).await;
        let topic = index(&random, shared.plan.topics);
        if random.one_in(20) {
            next[topic] = 1 + random.below(next[topic]);
        }
        let (name, from) = (shared.plan.topic(topic), next[topic]);
        let request = ReadRequest { topic: name, from, max_messages: 100, ..ReadRequest::default() };
        match client.call_within(ASK, pop_service::READ, &request).await {
            Ok(response) => {
                let by = format!("a read in {}", client.name());
                response.messages.iter().for_each(|received| shared.oracle.receives(topic, received, &by));
                if let Some(one) = response.messages.iter().find(|received| received.large.is_some()) {
                    large::look(&shared, datacenter, topic, one).await;
                }
                for range in &response.expired {
                    let said = format!("[{}, {}) of topic {topic}", range.from, range.to);
                    shared.oracle.with(|record| record.expired.push(said));
                }
                next[topic] = response.next.max(1);
            }
            Err(_) => tokio::time::sleep(AFTER_ERROR).await,
        }
    }
}
