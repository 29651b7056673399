//! What pop servers ask of stores.

use std::time::Duration;

use trunkline_wire::v1::{self, pop_service};

use super::world::World;

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_the_same_message_share_one_wait_at_the_store() {
    let world = World::new().await;
    world.push("t", 3);
    let read = |max_messages| {
        let request = v1::ReadRequest {
            topic: "t".to_owned(),
            from: 4,
            max_messages,
            max_bytes: 0,
            wait: prost_types::Duration::try_from(Duration::from_secs(9)).ok(),
        };
        let world = &world;
        async move { world.call("nyc", pop_service::READ, &request, Duration::from_secs(10)).await }
    };
    let readers = futures::future::join_all([5, 1, 5].map(read));
    let push = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(world.reads(), 1);
        world.push("t", 2);
    };
    let (answers, ()) = futures::join!(readers, push);
    let ids =
        |answer: &v1::ReadResponse| answer.messages.iter().map(|one| one.message_id).collect::<Vec<_>>();
    let ids: Vec<Vec<u64>> = answers.iter().map(|answer| ids(answer.as_ref().unwrap())).collect();
    assert_eq!(ids, [vec![4, 5], vec![4], vec![4, 5]], "each as much as it asked for");
    assert_eq!(world.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_at_another_store_when_its_own_is_gone() {
    let world = World::new().await;
    world.push("t", 1);
    let request = v1::ReadRequest {
        topic: "t".to_owned(),
        from: 2,
        max_messages: 1,
        max_bytes: 0,
        wait: prost_types::Duration::try_from(Duration::from_secs(20)).ok(),
    };
    let reading = world.call("nyc", pop_service::READ, &request, Duration::from_secs(25));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let first = &world.stores("nyc", "t")[0];
        world.nodes[first].process.crash();
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.push("t", 1);
    };
    let (answer, ()) = futures::join!(reading, meanwhile);
    assert_eq!(answer.unwrap().messages[0].message_id, 2);
}
