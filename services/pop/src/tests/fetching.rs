//! Fetch, among stores that fail.

use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_testkit::fixture::node;
use trunkline_types::{Role, checksum};
use trunkline_wire::v1::pop_service::FETCH;
use trunkline_wire::v1::{FetchRequest, LargePayload};
use trunkline_wire::{Code, Status};

use super::EARLIEST;
use super::world::{CHUNK, World};

/// All chunks from one on, each of which fits its checksum, and what was said of the whole.
async fn fetch(world: &World, id: u64, first_chunk: u32) -> Result<(LargePayload, Vec<u8>), Status> {
    let place = node(Role::Pop, &"nyc".into(), 1);
    let to = Peer::new(place.address.as_str(), Class::Payloads);
    let (sender, mut receiver) = world.caller.open(&to, FETCH, CallOptions::default()).await?;
    let request = FetchRequest { topic: "t".to_owned(), message_id: id, first_chunk };
    sender.send(&request).await.expect("it is open");
    let head = receiver.next().await?.expect("what it is");
    assert_eq!(head.chunk_bytes as usize, CHUNK);
    let mut bytes = Vec::new();
    while let Some(chunk) = receiver.next().await? {
        assert_eq!(checksum(&chunk.data), chunk.checksum);
        bytes.extend_from_slice(&chunk.data);
    }
    Ok((head.payload.expect("what it is"), bytes))
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).expect("small")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_large_message_comes_as_a_reference_and_its_payload_by_fetch() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.expect("subscribed");
    let large = payload(12 * CHUNK + 3);
    world.push_large("t", &large);
    let deliveries = world.pop("nyc", "a", Vec::new(), 10, 1_000).await.expect("popped");
    let received = deliveries[0].message.as_ref().expect("a message");
    let expected = LargePayload { bytes: large.len() as u64, checksum: checksum(&large) };
    assert_eq!((received.large.as_ref(), received.message_id), (Some(&expected), 1));
    assert_eq!(fetch(&world, 1, 0).await.expect("fetched"), (expected, large.clone()));
    assert_eq!(fetch(&world, 1, 12).await.expect("fetched").1, large[12 * CHUNK..]);
    assert_eq!(fetch(&world, 1, 13).await.expect("fetched").1, Vec::<u8>::new());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_lacks_it_or_gives_other_bytes_is_left_for_the_next() {
    let large = payload(12 * CHUNK);
    for fault in ["fails", "lacks", "spoils"] {
        let world = World::new().await;
        world.push_large("t", &large);
        for store in world.stores("nyc", "t") {
            match fault {
                "fails" => world.gives(&store, 2),
                "lacks" => world.hold_back(&store, 0),
                _ => world.corrupt(&store, 1),
            }
        }
        assert_eq!(fetch(&world, 1, 0).await.expect(fault).1, large, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_word_is_what_all_stores_say_together() {
    let world = World::new().await;
    world.push_large("t", &payload(5 * CHUNK));
    world.push("t", 1);
    assert_eq!(fetch(&world, 2, 0).await.expect_err("a small one").code(), Code::FailedPrecondition);
    assert_eq!(fetch(&world, 3, 0).await.expect_err("none").code(), Code::NotFound);
    let all: Vec<String> = ["nyc", "mci", "sea"].iter().flat_map(|name| world.stores(name, "t")).collect();
    all.iter().for_each(|store| world.corrupt(store, 1));
    let lost = fetch(&world, 1, 0).await.expect_err("spoiled everywhere");
    assert_eq!(lost.code(), Code::DataLoss);
    world.gives(&all[0], 0);
    assert_eq!(fetch(&world, 1, 0).await.expect_err("one may have it").code(), Code::Unavailable);
}
