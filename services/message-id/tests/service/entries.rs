use std::time::Duration;

use crate::cluster::{Cluster, DATACENTERS};
use crate::store::{Store, holds};

/// As many entries as the pacing makes of them, each counted once, of three origin logs that grow together.
#[tokio::test(start_paused = true)]
async fn a_message_of_a_busy_topic_costs_at_most_four_bytes_of_entries() {
    const SECOND_MS: u64 = 1_000;
    let cluster = Cluster::new().await;
    let topic = cluster.create("nyc", "orders").await.unwrap().topic.unwrap().topic_id;
    let mut stores = Vec::new();
    for datacenter in DATACENTERS {
        let mut store = Store::open(&cluster, datacenter, datacenter, 0).await;
        store.report(true, vec![]).await;
        stores.push(store);
    }
    let origins: Vec<_> = stores.iter().map(|store| store.log(&cluster)).collect();
    let leader = cluster.leader();
    let bytes = || cluster.figure(&leader, "message_id_entry_bytes");
    let before = bytes();
    for sequence in 1..=SECOND_MS {
        for store in &mut stores {
            let logs = origins.iter().map(|&origin| holds(origin, sequence, &[(topic, 1)])).collect();
            store.report(false, logs).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let messages = 3 * SECOND_MS;
    stores[0].ordered(messages).await;
    let per_message = (bytes() - before) / messages as f64;
    assert!(per_message <= 4.0, "{per_message}");
}
