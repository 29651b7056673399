//! The store in memory, on which every simulation stands: the same contract, and its durability for many seeds.

use std::sync::Arc;
use std::time::Duration;

use trunkline_ports::Storage;
use trunkline_testkit::{Faults, HostileStorage, MemoryStorage, Random, Visibility};

use crate::contract::{self, INDEX, get, put};

const SYNC: Duration = Duration::from_millis(5);

#[tokio::test(start_paused = true)]
async fn the_contract_holds() {
    contract::holds(|| Arc::new(MemoryStorage::new())).await;
    contract::holds(|| Arc::new(MemoryStorage::new().with_sync_latency(SYNC))).await;
    contract::holds(|| {
        Arc::new(MemoryStorage::new().with_sync_latency(SYNC).with_visibility(Visibility::AtSync))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_contract_holds_for_a_hostile_store_while_it_is_kind() {
    contract::holds(|| Arc::new(HostileStorage::new(MemoryStorage::new()).0)).await;
    let (store, faults): (_, Faults) = HostileStorage::new(MemoryStorage::new());
    faults.fail_writes_after(1);
    store.write(put(INDEX, "a", "")).await.unwrap();
    assert!(store.write(put(INDEX, "b", "")).await.is_err());
    assert!(store.write(put(INDEX, "c", "")).await.is_err(), "a failed disk stays failed");
}

#[tokio::test(start_paused = true)]
async fn a_crash_leaves_a_prefix_with_all_that_had_resolved() {
    for seed in 0..200 {
        let random = Random::new(seed);
        let store = MemoryStorage::new().with_sync_latency(SYNC);
        let (resolved, called) = (random.below(5), random.below(10));
        for number in 0..resolved {
            store.write(put(INDEX, &number.to_string(), "")).await.unwrap();
        }
        for number in resolved..resolved + called {
            drop(store.write(put(INDEX, &number.to_string(), "")));
        }
        store.crash(&random);
        let after = store.reopen();
        let mut kept = Vec::new();
        for number in 0..resolved + called {
            kept.push(get(&after, INDEX, &number.to_string()).await.is_some());
        }
        let length = kept.iter().take_while(|kept| **kept).count();
        assert!(length as u64 >= resolved, "seed {seed}: {kept:?}");
        assert!(!kept[length..].contains(&true), "seed {seed}: a hole in {kept:?}");
    }
}
