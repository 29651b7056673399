//! EXPLICIT, IMMEDIATE, and Consume streams.

use super::*;

fn bench(mode: AckMode, last: u64) -> Bench {
    let policy = Policy { ack_mode: mode, ..lease(1, &[]).policy };
    Bench::with(Lease { policy, ..lease(1, &[]) }, last)
}

fn stream(name: &str) -> Client {
    Client::Stream(name.into())
}

impl Bench {
    pub(super) fn nack(&mut self, tokens: &[(DeliveryToken, Option<u64>)]) -> Result<(), AckRefusal> {
        self.pops += 1;
        let tokens = tokens.iter().map(|&(token, delay_ms)| (token.into(), delay_ms)).collect();
        self.step(Event::Nack { ack: self.pops, tokens });
        self.acked(self.pops).expect("answered at once")
    }

    fn extend(&mut self, tokens: &[DeliveryToken], by_ms: u64) -> Result<(), AckRefusal> {
        self.pops += 1;
        let until = self.now_ms + by_ms;
        let tokens = tokens.iter().map(|&token| (token.into(), until)).collect();
        self.step(Event::Extend { ack: self.pops, tokens });
        self.acked(self.pops).expect("answered at once")
    }
}

fn expired(indexes: &[usize], id: u64) -> Result<(), AckRefusal> {
    Err(AckRefusal::Expired(Expired { indexes: indexes.to_vec(), id }))
}

#[test]
fn in_explicit_a_pop_says_nothing_of_the_one_before() {
    let mut bench = bench(AckMode::Explicit, 4);
    let first = bench.pop(named("a"), &[], 2);
    assert_eq!(ids(&bench.pop(named("a"), &[], 1)), [(3, 1)], "what it has is its own until the deadline");
    assert_eq!(ids(&bench.pop(Client::Bare, &[], 1)), [(4, 1)]);
    bench.pop(Client::Bare, &[], 1);
    bench.advance(210);
    assert_eq!(bench.commit, None, "the bare form acknowledges nothing either");
    let ack = bench.ack(&tokens(&first)[1..]);
    assert_eq!((bench.commit(), bench.acked(ack)), (vec![2..3], Some(Ok(()))));
    bench.advance(30_000);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(1, 2), (3, 2), (4, 2)]);
}

#[test]
fn a_nack_brings_it_back_at_once_or_after_its_delay_or_the_subscriptions() {
    let retry = Retry { min_ms: 1_000, max_ms: 3_000 };
    let policy = Policy { ack_mode: AckMode::Explicit, retry, ..lease(1, &[]).policy };
    let mut bench = Bench::with(Lease { policy, ..lease(1, &[]) }, 1);
    let comes_after = |bench: &mut Bench, token, delay_ms, wait_ms: u64| {
        bench.nack(&[(token, delay_ms)]).unwrap();
        assert_eq!(bench.nack(&[(token, delay_ms)]), Ok(()), "it is idempotent");
        if wait_ms > 0 {
            bench.advance(wait_ms - 1);
            assert_eq!(ids(&bench.pop(named("b"), &[], 1)), [], "{wait_ms}");
            bench.advance(1);
        }
        bench.pop(named("b"), &[], 1).pop().expect("it comes again")
    };
    let mut handed = bench.pop(named("a"), &[], 1).pop().unwrap();
    for (attempt, delay_ms, wait_ms) in
        [(2, Some(0), 0), (3, Some(250), 250), (4, None, 3_000), (5, None, 3_000)]
    {
        handed = comes_after(&mut bench, handed.token, delay_ms, wait_ms);
        assert_eq!((handed.attempt, handed.nacks), (attempt, attempt - 1), "counted once each");
    }
    bench.advance(210);
    let counts: Vec<_> = bench.counts.iter().map(|(&id, counts)| (id, counts.nacks)).collect();
    assert_eq!(
        (bench.commit(), counts),
        (vec![], vec![(1, 2)]),
        "the first are under way, the others follow"
    );
    bench.advance(210);
    assert_eq!(bench.counts[&1], Counts { deliveries: 4, nacks: 4 });
}

#[test]
fn who_asks_for_more_time_in_time_gets_it() {
    let mut bench = bench(AckMode::Explicit, 2);
    let a = tokens(&bench.pop(named("a"), &[], 2));
    bench.advance(29_000);
    assert_eq!(bench.extend(&a[..1], 30_000), Ok(()));
    bench.advance(1_000);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(2, 2)]);
    assert_eq!(bench.extend(&a, 30_000), expired(&[1], 2), "b has it now");
    bench.advance(29_999);
    assert_eq!(bench.extend(&a[..1], 30_000), Ok(()));
    bench.advance(30_000);
    assert_eq!(bench.extend(&a[..1], 30_000), expired(&[0], 1), "too late");
}

#[test]
fn two_clients_never_both_acknowledge_one_message() {
    let mut bench = bench(AckMode::Explicit, 2);
    let a = tokens(&bench.pop(named("a"), &[], 1));
    bench.advance(30_000);
    bench.commit_all();
    let b = bench.pop(named("b"), &[], 1);
    assert_eq!(ids(&b), [(1, 2)]);
    let b = tokens(&b);
    let of_b = bench.ack(&b);
    bench.commit_all();
    assert_eq!(bench.acked(of_b), Some(Ok(())));
    for (token, outcome) in [(&a, expired(&[0], 1)), (&b, Ok(()))] {
        let again = bench.ack(token);
        assert_eq!(bench.acked(again), Some(outcome));
    }
    let a = tokens(&bench.pop(named("a"), &[], 1));
    bench.advance(30_000);
    let b = tokens(&bench.pop(named("b"), &[], 1));
    bench.advance(30_000);
    let late = bench.ack(&a);
    bench.commit_all();
    assert_eq!(bench.acked(late), Some(Ok(())), "nobody has it now, and a was first to say so");
    for (token, outcome) in [(&a, Ok(())), (&b, expired(&[0], 2))] {
        let again = bench.ack(token);
        assert_eq!(bench.acked(again), Some(outcome));
    }
}

#[test]
fn what_a_later_dispatchers_client_has_acknowledged_an_earlier_ones_cannot() {
    let mut old = bench(AckMode::Explicit, 2);
    let a = tokens(&old.pop(named("a"), &[], 2));
    let mut new = Bench::with(
        Lease { token: FencingToken(2), ..Lease { policy: old.dispatcher.policy, ..lease(1, &[]) } },
        2,
    );
    let b = tokens(&new.pop(named("b"), &[], 1));
    new.ack(&b);
    new.commit();
    let late = new.ack(&a);
    assert_eq!(new.commit(), [2..3], "nobody has handed out 2 since");
    assert_eq!(new.acked(late), Some(expired(&[0], 1)));
}

#[test]
fn a_consume_streams_deliveries_are_its_own_until_it_ends_in_every_mode() {
    for mode in [AckMode::OnNextPop, AckMode::Explicit] {
        let mut bench = bench(mode, 4);
        let first = tokens(&bench.pop(stream("s"), &[], 2));
        assert_eq!(ids(&bench.pop(stream("s"), &[], 1)), [(3, 1)], "{mode:?}");
        bench.ack(&first[..1]);
        bench.commit();
        let waiting = bench.begin(stream("s"), &[], 9, 60_000);
        assert_eq!(ids(&bench.outcome(waiting).unwrap().unwrap()), [(4, 1)]);
        let waiting = bench.begin(stream("s"), &[], 9, 60_000);
        bench.step(Event::Left { client: stream("s") });
        assert_eq!(bench.outcome(waiting), None, "nobody listens");
        assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(2, 2), (3, 2), (4, 2)], "at once");
        bench.advance(210);
        assert_eq!(
            bench.counts.keys().copied().collect::<Vec<_>>(),
            [2, 3, 4],
            "a client may have died of it"
        );
    }
}

#[test]
fn an_answer_that_a_stream_has_not_got_comes_first_again_and_what_it_has_does_not() {
    let mut bench = bench(AckMode::Explicit, 5);
    let round = |bench: &mut Bench, round| {
        bench.pops += 1;
        let (number, now_ms) = (bench.pops, bench.now_ms);
        bench.step(Event::Pop(Pop {
            number,
            client: stream("s"),
            echoed: Vec::new(),
            share: None,
            round,
            messages_max: 2,
            bytes_max: 1 << 20,
            wait_until_ms: now_ms,
            deadline_ms: now_ms + 9_900,
            releases: false,
        }));
        ids(&bench.outcome(number).unwrap().unwrap())
    };
    assert_eq!(round(&mut bench, 1), [(1, 1), (2, 1)]);
    assert_eq!(round(&mut bench, 2), [(3, 1), (4, 1)]);
    assert_eq!(round(&mut bench, 2), [(3, 2), (4, 2)], "the way back was cut");
    assert_eq!(round(&mut bench, 3), [(5, 1)]);
}

#[test]
fn immediate_hands_out_only_what_is_committed_and_never_again() {
    let mut bench = bench(AckMode::Immediate, 5);
    let pop = bench.begin(named("a"), &[], 2, 0);
    assert_eq!(bench.outcome(pop), None, "not before the commit");
    assert_eq!(bench.commit(), [1..3]);
    assert_eq!(ids(&bench.outcome(pop).unwrap().unwrap()), [(1, 1), (2, 1)]);
    assert_eq!(bench.commit(), [3..6], "ahead of the next, for it went fast");
    assert_eq!(ids(&bench.pop(named("a"), &[], 2)), [(3, 1), (4, 1)], "at once");
    bench.advance(60_000);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), [(5, 1)]);
    assert_eq!(ids(&bench.pop(named("b"), &[], 9)), []);
}

#[test]
fn an_immediate_dispatcher_without_a_quorum_hands_out_nothing_and_says_so() {
    let mut bench = bench(AckMode::Immediate, 5);
    let pop = bench.begin(named("a"), &[], 2, 0);
    let (number, _) = bench.commit.take().unwrap();
    bench.step(Event::CommitFailed { number, retry_ms: 100 });
    bench.advance(9_900);
    assert_eq!(bench.outcome(pop), Some(Err(PopRefusal::Uncommitted)));
    bench.commit();
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)).len(), 2, "what was reserved for it is still there");
}

#[test]
fn what_is_reserved_and_not_handed_out_is_given_back_at_the_end() {
    let mut bench = bench(AckMode::Immediate, 100);
    let pop = bench.begin(named("a"), &[], 5, 0);
    bench.commit();
    assert_eq!(bench.outcome(pop).unwrap().unwrap().len(), 5);
    bench.commit();
    assert_eq!(ids(&bench.pop(named("a"), &[], 1)), [(6, 1)]);
    assert!(bench.dispatcher.is_idle(), "nobody waits, and what is reserved is nobody's yet");
    bench.step(Event::Release);
    assert_eq!(bench.given_back.iter().collect::<Vec<_>>(), [7..16]);
    bench.commit();
    assert!(bench.ended);
}

#[test]
fn an_immediate_answer_that_could_not_be_given_goes_to_the_next() {
    let mut bench = bench(AckMode::Immediate, 3);
    let pop = bench.begin(named("a"), &[], 2, 0);
    bench.commit();
    let deliveries = tokens(&bench.outcome(pop).unwrap().unwrap());
    bench.step(Event::TakenBack { deliveries, expired: Vec::new() });
    assert_eq!(ids(&bench.pop(named("b"), &[], 2)), [(1, 1), (2, 1)]);
}
