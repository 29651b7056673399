//! One key is with one client at a time, in order.

use super::*;

/// Messages 1, 2, … with these keys; 0 is none.
fn keyed(keys: &[Key], mode: AckMode) -> Bench {
    let policy = Policy { ack_mode: mode, ..lease(1, &[]).policy };
    let mut bench = Bench::with(Lease { policy, ..lease(1, &[]) }, keys.len() as u64);
    bench.keys = (1..).zip(keys.iter().copied()).filter(|(_, key)| *key > 0).collect();
    bench
}

fn shared(bench: &mut Bench, client: &str, member: u32, messages_max: u64) -> Vec<Handed<Message>> {
    bench.pops += 1;
    let (number, now_ms) = (bench.pops, bench.now_ms);
    bench.step(Event::Pop(Pop {
        number,
        client: named(client),
        echoed: Vec::new(),
        share: Some(Share { member, members: 2 }),
        round: 0,
        messages_max,
        bytes_max: 1 << 20,
        wait_until_ms: now_ms,
        deadline_ms: now_ms + 9_900,
        releases: false,
    }));
    bench.outcome(number).expect("answered at once").expect("not refused")
}

#[test]
fn a_key_that_one_client_has_is_passed_over_for_others_and_goes_on_when_it_is_acknowledged() {
    let mut bench = keyed(&[1, 1, 2, 0, 1, 2], AckMode::Explicit);
    let a = bench.pop(named("a"), &[], 1);
    assert_eq!(ids(&a), [(1, 1)]);
    let b = bench.pop(named("b"), &[], 9);
    assert_eq!(ids(&b), [(3, 1), (4, 1), (6, 1)], "2 and 5 are of the key that a has");
    let more = bench.pop(named("a"), &[], 1);
    assert_eq!(ids(&more), [(2, 1)], "a may have more of its own key, in order");
    bench.ack(&tokens(&a));
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [], "a still has 2");
    bench.ack(&tokens(&more));
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(5, 1)]);
}

#[test]
fn a_nack_holds_up_its_key_only_and_later_ones_of_it_come_again_after_it() {
    let mut bench = keyed(&[1, 2, 1, 2, 1], AckMode::Explicit);
    let a = bench.pop(named("a"), &[], 3);
    assert_eq!(ids(&a), [(1, 1), (2, 1), (3, 1)]);
    bench.nack(&[(tokens(&a)[0], Some(5_000))]).unwrap();
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [], "1 is delayed, 3 and 5 come after it, 2 is with a");
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), [(4, 1)], "another key goes on");
    bench.advance(4_999);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), []);
    bench.advance(1);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(1, 2), (3, 2), (5, 1)]);
    let late = bench.ack(&tokens(&a)[2..]);
    assert!(matches!(bench.acked(late), Some(Err(AckRefusal::Expired(_)))), "b has it now");
}

#[test]
fn what_was_taken_back_for_its_key_can_be_acknowledged_until_it_is_handed_out_again() {
    let mut bench = keyed(&[1, 1], AckMode::Explicit);
    let a = tokens(&bench.pop(named("a"), &[], 2));
    bench.nack(&[(a[0], None)]).unwrap();
    bench.ack(&a[1..]);
    bench.advance(210);
    assert_eq!(bench.commit(), [2..3]);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(1, 2)]);
}

#[test]
fn a_waiting_pop_gets_a_key_as_soon_as_its_client_is_gone() {
    let mut bench = keyed(&[1, 1], AckMode::OnNextPop);
    let stream = Client::Stream("s".into());
    assert_eq!(ids(&bench.pop(stream.clone(), &[], 1)), [(1, 1)]);
    let waiting = bench.begin(named("b"), &[], 9, 5_000);
    assert_eq!(bench.outcome(waiting), None);
    bench.step(Event::Left { client: stream });
    assert_eq!(ids(&bench.outcome(waiting).unwrap().unwrap()), [(1, 2), (2, 1)]);
}

#[test]
fn a_nameless_client_is_never_the_same_twice() {
    let mut bench = keyed(&[1, 1, 0], AckMode::Explicit);
    assert_eq!(ids(&bench.pop(Client::Nameless, &[], 1)), [(1, 1)]);
    assert_eq!(ids(&bench.pop(Client::Nameless, &[], 9)), [(3, 1)]);
}

#[test]
fn a_slow_key_holds_up_itself_up_to_the_window() {
    let last = DELIVERY_WINDOW_MAX + 5_000;
    let keys: Vec<Key> = (1..=last).map(|id| if id % 2 == 1 { 7 } else { 100 + id }).collect();
    let mut bench = keyed(&keys, AckMode::Explicit);
    assert_eq!(ids(&bench.pop(named("slow"), &[], 1)), [(1, 1)]);
    let mut got = 0;
    loop {
        let given = bench.pop(named("fast"), &[], 500);
        if given.is_empty() {
            break;
        }
        got += given.len() as u64;
        assert!(given.iter().all(|handed| handed.token.id % 2 == 0));
        bench.ack(&tokens(&given));
        bench.commit_all();
    }
    assert_eq!(got, DELIVERY_WINDOW_MAX / 2, "every other key, until the window is full");
    let held = bench.dispatcher.outstanding.pending_len() as u64;
    assert_eq!(held, DELIVERY_WINDOW_MAX / 2 - 1);
    assert!(bench.dispatcher.held_bytes() <= trunkline_types::limits::HELD_BYTES_MAX);
}

#[test]
fn a_member_gets_the_keys_of_its_share_and_what_has_none() {
    let mut bench = keyed(&[2, 3, 0, 2, 5, 4], AckMode::Explicit);
    assert_eq!(ids(&shared(&mut bench, "odd", 1, 2)), [(2, 1), (3, 1)]);
    assert_eq!(ids(&shared(&mut bench, "even", 0, 9)), [(1, 1), (4, 1), (6, 1)]);
    assert_eq!(ids(&shared(&mut bench, "odd", 1, 9)), [(5, 1)]);
}

#[test]
fn in_on_next_pop_what_is_not_echoed_comes_first_again_with_its_key() {
    let mut bench = keyed(&[1, 1, 2], AckMode::OnNextPop);
    let a = tokens(&bench.pop(named("a"), &[], 2));
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(3, 1)]);
    assert_eq!(ids(&bench.pop(named("a"), &a[1..], 9)), [(1, 2)]);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(3, 2)]);
}
