//! The delay line below HTTP/2: ORDERED crosses the WAN twice, LOCAL not at all.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_integration::{Dev, eventually};
use trunkline_wire::v1::AckLevel;

const WITHIN: Duration = Duration::from_secs(10);
const PUSHES: usize = 21;

/// The times of some pushes, ascending.
async fn times(dev: &Dev, level: AckLevel) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..PUSHES {
        let start = Instant::now();
        let pushed = dev.at("nyc").push("far", &number.to_string(), level, WITHIN).await;
        pushed.expect("pushed");
        times.push(start.elapsed());
    }
    times.sort();
    times
}

/// Times at LOCAL and ORDERED, once the topic is there and warm.
async fn measure(wan: &'static str) -> (Vec<Duration>, Vec<Duration>) {
    let mut dev = Dev::start(wan).await;
    eventually(Duration::from_secs(60), "a first message with an ID", async || {
        dev.at("nyc").push("far", "first", AckLevel::Ordered, WITHIN).await.ok()
    })
    .await;
    let local = times(&dev, AckLevel::Local).await;
    let ordered = times(&dev, AckLevel::Ordered).await;
    dev.stop().await;
    (local, ordered)
}

#[tokio::test]
async fn ordered_takes_two_round_trips_and_local_none() {
    let (local_near, _) = measure("none").await;
    let (local_far, ordered_far) = measure("150ms").await;
    assert!(ordered_far[0] >= Duration::from_millis(295), "the fastest ORDERED took {:?}", ordered_far[0]);
    assert!(
        ordered_far[PUSHES / 2] < Duration::from_secs(1),
        "the median ORDERED took {:?}",
        ordered_far[PUSHES / 2]
    );
    // No WAN in it: what the distance adds is less than one way, let alone a round trip.
    let (near, far) = (local_near[PUSHES / 2], local_far[PUSHES / 2]);
    assert!(far < near + Duration::from_millis(75), "the median LOCAL took {far:?}, without a WAN {near:?}");
}
