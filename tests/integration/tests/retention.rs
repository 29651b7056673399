//! Messages that are kept no more: readers hear of it, in every datacenter, and the disks get their room back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use trunkline_integration::{DATACENTERS, Dev, eventually};
use trunkline_wire::v1::{AckLevel, ExpiredRange};

const WITHIN: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(90);
const PAYLOAD_BYTES: usize = 64 << 10;

/// Bytes of all payload files below a directory.
fn payload_bytes(at: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(at) else { return 0 };
    let of = |entry: fs::DirEntry| {
        let path = entry.path();
        let is_payload = path.extension().is_some_and(|extension| extension == "blob");
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => payload_bytes(&path),
            Ok(meta) if is_payload => meta.len(),
            _ => 0,
        }
    };
    entries.flatten().map(of).sum()
}

/// 64 KiB that cannot be compressed away by whoever might.
fn payload(n: u64) -> String {
    let mut state = n << 32 | 0x9e37_79b9;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 59) as u8 % 26)
    };
    (0..PAYLOAD_BYTES).map(|_| next()).collect()
}

async fn fill(dev: &Dev, topic: &str, count: u64) {
    for n in 0..count {
        let client = &dev.clients()[usize::try_from(n).unwrap_or(0) % 3];
        client.push(topic, &payload(n), AckLevel::Local, WITHIN).await.expect("stored");
    }
}

async fn watermark(dev: &Dev, topic: &str, least: u64) {
    for datacenter in DATACENTERS {
        eventually(WAIT, &format!("{topic} at {datacenter}"), async || {
            let read = dev.at(datacenter).read(topic, least).await.ok()?;
            (read.watermark >= least).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_kept_for_some_seconds_expires_for_readers_and_gives_the_disks_their_room_back() {
    let mut dev = Dev::start("none").await;
    dev.cli(&["topics", "create", "brief", "--retention-age", "20s"]);
    dev.at("nyc").subscribe("brief", "behind").await.expect("subscribed");
    dev.at("nyc").push("kept", "stays", AckLevel::Everywhere, WITHIN).await.expect("everywhere");
    // On six stores some 190 MB: more than what they gather in memory before it goes to payload files.
    fill(&dev, "brief", 500).await;
    watermark(&dev, "brief", 500).await;
    let first = dev.at("sea").pop("brief", "behind", Vec::new()).await.expect("popped");
    let got = first.deliveries.iter().map(|delivery| delivery.token.clone()).collect::<Vec<_>>();
    assert!(!got.is_empty() && first.expired.is_empty());

    for datacenter in DATACENTERS {
        let read = eventually(WAIT, &format!("all to expire at {datacenter}"), async || {
            let read = dev.at(datacenter).read("brief", 1).await.ok()?;
            (read.next > 500).then_some(read)
        })
        .await;
        assert_eq!(read.expired, [ExpiredRange { from: 1, to: 501 }], "{datacenter}");
    }
    // A subscription that is behind hears of what it will never get, and goes on.
    let next = dev.at("mci").push("brief", "next", AckLevel::Ordered, WITHIN).await.expect("ordered");
    assert_eq!(next.message_id, 501);
    let mut previous = got;
    let (mut expired, mut texts) = (Vec::new(), Vec::new());
    while texts.is_empty() {
        let popped = dev.at("sea").pop("brief", "behind", previous).await.expect("popped");
        expired.extend(popped.expired);
        previous = popped.deliveries.iter().map(|delivery| delivery.token.clone()).collect();
        let messages = popped.deliveries.into_iter().filter_map(|delivery| delivery.message);
        texts.extend(messages.filter(|message| message.message_id == 501));
    }
    assert_eq!(expired.last().map(|range| range.to), Some(501), "{expired:?}");

    let left = eventually(WAIT, "the disks to have their room back", async || {
        let left = payload_bytes(&dev.data());
        (left < 20 << 20).then_some(left)
    })
    .await;
    assert!(left < 20 << 20);
    for datacenter in DATACENTERS {
        let kept = dev.at(datacenter).read("kept", 1).await.expect("read");
        assert_eq!(kept.messages.len(), 1, "{datacenter}");
    }
    dev.stop().await;
    dev.begin().await;
    let read = dev.at("mci").read("brief", 1).await.expect("read");
    assert_eq!(read.expired.first().map(|range| (range.from, range.to >= 501)), Some((1, true)));
    dev.stop().await;
}

#[tokio::test]
async fn a_topic_is_changed_deleted_and_created_again_as_another_one() {
    let mut dev = Dev::start("none").await;
    dev.cli(&["topics", "create", "orders", "--label", "team=billing"]);
    dev.cli(&["topics", "create", "orders", "--label", "team=billing"]);
    let refused = dev.run(&["topics", "create", "orders", "--retention-age", "1d"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("ALREADY_EXISTS"));
    let changed = dev.cli(&["topics", "update", "orders", "--retention-bytes", "1048576", "--json"]);
    let changed: serde_json::Value = serde_json::from_str(&changed).expect("a JSON object");
    assert_eq!(
        (&changed["retention_bytes"], &changed["labels"]["team"]),
        (&1_048_576.into(), &"billing".into())
    );
    let described = dev.cli(&["topics", "describe", "orders", "--dc", "sea"]);
    assert!(described.contains("1048576 bytes") && described.contains("100days"), "{described}");
    let refused = dev.run(&["topics", "update", "orders", "--retention-age", "1ms"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("options.retention_age"), "{refused:?}");

    // By bytes: 1 MiB of the newest are kept, and not much more.
    fill(&dev, "orders", 100).await;
    let earliest = eventually(WAIT, "the oldest to go", async || {
        let read = dev.at("sea").read("orders", 1).await.ok()?;
        read.expired.first().map(|range| range.to).filter(|earliest| *earliest > 80)
    })
    .await;
    assert!(earliest <= 101 - 16, "at least 16 of 64 KiB are kept, from {earliest} on");

    dev.at("mci").subscribe("orders", "reader").await.expect("subscribed");
    let before = payload_bytes(&dev.data());
    dev.cli(&["topics", "delete", "orders"]);
    let refused = dev.at("nyc").pop("orders", "reader", Vec::new()).await;
    assert!(refused.is_err(), "its subscriptions have ended: {refused:?}");
    let first = eventually(WAIT, "another topic of the name", async || {
        dev.at("sea").push("orders", "first", AckLevel::Ordered, WITHIN).await.ok()
    })
    .await;
    assert_eq!(first.message_id, 1);
    for datacenter in DATACENTERS {
        eventually(WAIT, &format!("it at {datacenter}"), async || {
            let read = dev.at(datacenter).read("orders", 1).await.ok()?;
            (read.messages.len() == 1 && read.expired.is_empty()).then_some(())
        })
        .await;
    }
    eventually(WAIT, "the disks to have their room back", async || {
        let left = payload_bytes(&dev.data());
        (left < 4 << 20 || left < before / 4).then_some(())
    })
    .await;
    dev.stop().await;
}
