//! Events in, effects out.

mod dead_letters;
mod keys;
mod modes;

use std::collections::BTreeSet;

use trunkline_types::limits::{DELIVERY_WINDOW_MAX, HANDED_OUT_COMMIT_AT, HANDED_OUT_MAX};

use super::*;
use crate::position::Retry;

/// A message of a topic whose messages say their own ID, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message(u64, Option<Key>);

impl Payload for Message {
    fn bytes(&self) -> u64 {
        100
    }

    fn key(&self) -> Option<Key> {
        self.1
    }
}

/// A dispatcher with a store behind it that answers at once, and commits that succeed when asked to.
struct Bench {
    dispatcher: Dispatcher<Message>,
    now_ms: u64,
    last: u64,
    pops: u64,
    reads: Vec<Wanted>,
    /// Held back until `commit`.
    commit: Option<(u64, IntervalSet)>,
    /// Of that commit.
    counts: BTreeMap<u64, Counts>,
    given_back: IntervalSet,
    /// By ID.
    keys: BTreeMap<u64, Key>,
    effects: Vec<Effect<Message>>,
    ended: bool,
}

fn lease(token: u64, acknowledged: &[std::ops::Range<u64>]) -> Lease {
    Lease {
        check: 7,
        instance: 9,
        generation: Generation(0),
        token: FencingToken(token),
        start_id: 1,
        acknowledged: acknowledged.iter().cloned().collect(),
        counts: BTreeMap::new(),
        policy: Policy {
            ack_mode: AckMode::OnNextPop,
            ack_deadline_ms: 30_000,
            retry: Retry::default(),
            attempts_max: None,
        },
    }
}

fn named(name: &str) -> Client {
    Client::Named(name.into())
}

fn ids(deliveries: &[Handed<Message>]) -> Vec<(u64, u32)> {
    assert!(deliveries.iter().all(|handed| handed.message.0 == handed.token.id), "I3: the right message");
    deliveries.iter().map(|handed| (handed.token.id, handed.token.attempt)).collect()
}

fn tokens(deliveries: &[Handed<Message>]) -> Vec<DeliveryToken> {
    deliveries.iter().map(|handed| handed.token).collect()
}

impl Bench {
    fn new(token: u64, acknowledged: &[std::ops::Range<u64>], last: u64) -> Self {
        Self::with(lease(token, acknowledged), last)
    }

    fn with(lease: Lease, last: u64) -> Self {
        Self {
            dispatcher: Dispatcher::new(lease),
            now_ms: 1_000,
            last,
            pops: 0,
            reads: Vec::new(),
            commit: None,
            counts: BTreeMap::new(),
            given_back: IntervalSet::new(),
            keys: BTreeMap::new(),
            effects: Vec::new(),
            ended: false,
        }
    }

    /// Carries out what the dispatcher wants of the world; the rest stays in `effects`.
    fn step(&mut self, event: Event<Message>) {
        let mut effects = Vec::new();
        self.dispatcher.step(self.now_ms, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Read(wanted) => {
                    self.reads.retain(|before| before.wait != wanted.wait);
                    self.reads.push(wanted);
                }
                Effect::Commit { number, acknowledged, counts, given_back } => {
                    assert!(self.commit.is_none(), "one commit at a time");
                    self.commit = Some((number, acknowledged));
                    (self.counts, self.given_back) = (counts, given_back);
                }
                Effect::Ended => self.ended = true,
                other => self.effects.push(other),
            }
        }
        let has_answer = |wanted: &Wanted| !wanted.wait || wanted.from <= self.last;
        if let Some(at) = self.reads.iter().position(has_answer) {
            let wanted = self.reads.remove(at);
            let until = (wanted.from + wanted.messages_max).min(self.last + 1);
            let messages = (wanted.from..until).map(|id| self.message(id)).collect();
            self.step(Event::Read {
                number: wanted.number,
                first_id: wanted.from,
                messages,
                more: until <= self.last,
                earliest: 1,
            });
        }
    }

    fn message(&self, id: u64) -> Message {
        Message(id, self.keys.get(&id).copied())
    }

    fn advance(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.dispatcher.wake_at().filter(|&at| at <= until) {
            assert!(at > self.now_ms, "a dispatcher never asks to be woken in the past");
            self.now_ms = at;
            self.step(Event::Time);
        }
        self.now_ms = until;
    }

    /// The topic has messages up to here now.
    fn push(&mut self, last: u64) {
        self.last = last;
        if let Some(wanted) = self.reads.pop() {
            let messages = (wanted.from..=last).map(|id| self.message(id)).collect();
            self.step(Event::Read {
                number: wanted.number,
                first_id: wanted.from,
                messages,
                more: false,
                earliest: 1,
            });
        }
    }

    fn begin(&mut self, client: Client, echoed: &[DeliveryToken], messages_max: u64, wait_ms: u64) -> u64 {
        self.pops += 1;
        self.step(Event::Pop(Pop {
            number: self.pops,
            client,
            echoed: echoed.iter().map(|&token| token.into()).collect(),
            share: None,
            round: self.pops,
            messages_max,
            bytes_max: 1 << 20,
            wait_until_ms: self.now_ms + wait_ms,
            deadline_ms: self.now_ms + wait_ms.max(9_900),
            releases: false,
        }));
        self.pops
    }

    /// What became of a Pop; `None` while it waits.
    fn outcome(&mut self, number: u64) -> Option<Result<Vec<Handed<Message>>, PopRefusal>> {
        let at = self.effects.iter().position(|effect| match effect {
            Effect::Deliver { pop, .. } | Effect::Refuse { pop, .. } => *pop == number,
            _ => false,
        })?;
        match self.effects.remove(at) {
            Effect::Deliver { deliveries, .. } => Some(Ok(deliveries)),
            Effect::Refuse { why, .. } => Some(Err(why)),
            other => panic!("{other:?}"),
        }
    }

    fn pop(&mut self, client: Client, echoed: &[DeliveryToken], messages_max: u64) -> Vec<Handed<Message>> {
        let number = self.begin(client, echoed, messages_max, 0);
        self.outcome(number).expect("answered at once").expect("not refused")
    }

    fn ack(&mut self, tokens: &[DeliveryToken]) -> u64 {
        self.pops += 1;
        let deadline_ms = self.now_ms + 9_900;
        self.step(Event::Ack {
            ack: self.pops,
            tokens: tokens.iter().map(|&token| token.into()).collect(),
            deadline_ms,
        });
        self.pops
    }

    fn acked(&mut self, number: u64) -> Option<Result<(), AckRefusal>> {
        let at = self.effects.iter().position(|effect| match effect {
            Effect::Acked { ack } | Effect::AckRefused { ack, .. } => *ack == number,
            _ => false,
        })?;
        match self.effects.remove(at) {
            Effect::AckRefused { why, .. } => Some(Err(why)),
            _ => Some(Ok(())),
        }
    }

    /// All commits succeed, until there is nothing to commit.
    fn commit_all(&mut self) {
        while self.commit.is_some() {
            self.commit();
        }
    }

    /// The commit under way succeeds; returns what it said.
    fn commit(&mut self) -> Vec<std::ops::Range<u64>> {
        let (number, acknowledged) = self.commit.take().expect("a commit is under way");
        self.step(Event::Committed { number });
        acknowledged.iter().collect()
    }
}

#[test]
fn a_client_gets_the_messages_in_order_and_acknowledges_what_it_echoes() {
    let mut bench = Bench::new(1, &[], 5);
    let first = bench.pop(named("a"), &[], 2);
    assert_eq!(ids(&first), [(1, 1), (2, 1)]);
    let second = bench.pop(named("a"), &tokens(&first), 10);
    assert_eq!(ids(&second), [(3, 1), (4, 1), (5, 1)]);
    assert_eq!((bench.dispatcher.position(), bench.dispatcher.outstanding()), (2, 3));
    bench.advance(210);
    assert_eq!(bench.commit(), [1..3], "committed behind it");
}

#[test]
fn what_a_clients_next_pop_does_not_echo_comes_first_again_in_order() {
    let mut bench = Bench::new(1, &[], 9);
    let first = tokens(&bench.pop(named("a"), &[], 4));
    let second = bench.pop(named("a"), &[first[1]], 4);
    assert_eq!(ids(&second), [(1, 2), (3, 2), (4, 2), (5, 1)]);
    assert_eq!(bench.dispatcher.position(), 0, "nothing hides behind a position");
    let third = bench.pop(named("a"), &tokens(&second)[1..], 4);
    assert_eq!(ids(&third), [(1, 3), (6, 1), (7, 1), (8, 1)]);
}

#[test]
fn a_lost_reply_loses_nothing_and_the_old_token_of_the_same_client_still_counts() {
    let mut bench = Bench::new(1, &[], 3);
    let lost = bench.pop(named("a"), &[], 1);
    let again = bench.pop(named("a"), &[], 1);
    assert_eq!(ids(&again), [(1, 2)]);
    assert_eq!(ids(&bench.pop(named("a"), &tokens(&lost), 1)), [(2, 1)]);
}

#[test]
fn clients_of_one_consumer_compete_and_never_acknowledge_for_each_other() {
    let mut bench = Bench::new(1, &[], 6);
    let a = bench.pop(named("a"), &[], 2);
    let b = bench.pop(named("b"), &[], 2);
    assert_eq!((ids(&a), ids(&b)), (vec![(1, 1), (2, 1)], vec![(3, 1), (4, 1)]));
    assert_eq!(ids(&bench.pop(named("b"), &tokens(&b), 2)), [(5, 1), (6, 1)]);
    assert_eq!(bench.dispatcher.position(), 0, "a is slow, and its messages hold the position");
    bench.advance(210);
    assert_eq!(bench.commit(), [3..5], "an exact set, never a high-water mark");
}

#[test]
fn the_bare_form_acknowledges_what_the_bare_form_was_last_given() {
    let mut bench = Bench::new(1, &[], 6);
    let named_has = bench.pop(named("a"), &[], 1);
    assert_eq!(ids(&bench.pop(Client::Bare, &[], 2)), [(2, 1), (3, 1)]);
    assert_eq!(ids(&bench.pop(Client::Bare, &[], 2)), [(4, 1), (5, 1)]);
    assert_eq!(bench.dispatcher.position(), 0, "what a named client has is not the bare form's");
    bench.pop(named("a"), &tokens(&named_has), 1);
    assert_eq!(bench.dispatcher.position(), 3);
}

#[test]
fn tokens_without_a_client_id_acknowledge_exactly_what_they_name() {
    let mut bench = Bench::new(1, &[], 6);
    let first = bench.pop(Client::Bare, &[], 2);
    let second = bench.pop(Client::Nameless, &tokens(&first)[..1], 2);
    assert_eq!(ids(&second), [(3, 1), (4, 1)]);
    assert_eq!(bench.dispatcher.position(), 1, "2 was not named");
    bench.advance(30_000);
    let again = bench.pop(Client::Nameless, &[], 9);
    assert_eq!(ids(&again), [(2, 2), (3, 2), (4, 2), (5, 1), (6, 1)]);
}

#[test]
fn what_no_pop_follows_comes_again_to_anyone_at_the_ack_deadline() {
    let mut bench = Bench::new(1, &[], 2);
    let a = tokens(&bench.pop(named("a"), &[], 1));
    let waiting = bench.begin(named("b"), &[], 9, 60_000);
    assert_eq!(ids(&bench.outcome(waiting).unwrap().unwrap()), [(2, 1)]);
    let waiting = bench.begin(named("c"), &[], 9, 60_000);
    bench.advance(29_999);
    assert_eq!(bench.outcome(waiting), None);
    bench.advance(1);
    assert_eq!(ids(&bench.outcome(waiting).unwrap().unwrap()), [(1, 2), (2, 2)]);
    let refused = bench.ack(&a);
    assert_eq!(bench.acked(refused), Some(Err(AckRefusal::Expired(Expired { indexes: vec![0], id: 1 }))));
    assert_eq!(bench.dispatcher.position(), 0);
}

#[test]
fn a_delivery_that_is_overdue_and_nobody_elses_can_still_be_acknowledged() {
    let mut bench = Bench::new(1, &[], 1);
    let a = tokens(&bench.pop(named("a"), &[], 1));
    bench.advance(31_000);
    assert_eq!(bench.commit(), [], "only that it was delivered in vain");
    let ack = bench.ack(&a);
    assert_eq!((bench.acked(ack), bench.commit()), (None, vec![1..2]));
    assert_eq!(bench.acked(ack), Some(Ok(())));
    assert_eq!(ids(&bench.pop(named("b"), &[], 1)), []);
}

#[test]
fn an_ack_answers_after_its_commit_and_again_at_once() {
    let mut bench = Bench::new(1, &[], 3);
    let given = tokens(&bench.pop(named("a"), &[], 3));
    let first = bench.ack(&given[..1]);
    let same = bench.ack(&given[..1]);
    let other = bench.ack(&given[1..2]);
    assert_eq!((bench.acked(first), bench.acked(same), bench.acked(other)), (None, None, None));
    assert_eq!(bench.commit(), [1..2]);
    assert_eq!(
        (bench.acked(first), bench.acked(same), bench.acked(other)),
        (Some(Ok(())), Some(Ok(())), None)
    );
    assert_eq!(bench.commit(), [2..3], "what came meanwhile goes with the next");
    assert_eq!(bench.acked(other), Some(Ok(())));
    let repeated = bench.ack(&given[..2]);
    assert_eq!(bench.acked(repeated), Some(Ok(())), "acks are idempotent");
}

#[test]
fn an_ack_whose_commit_fails_waits_for_the_next_one_and_then_says_so() {
    let mut bench = Bench::new(1, &[], 3);
    let given = tokens(&bench.pop(named("a"), &[], 3));
    let ack = bench.ack(&given);
    let (number, _) = bench.commit.take().unwrap();
    bench.step(Event::CommitFailed { number, retry_ms: 200 });
    assert!(bench.commit.is_none(), "not before the delay");
    bench.advance(200);
    assert_eq!(bench.commit.as_ref().map(|(_, set)| set.iter().collect()), Some(vec![1..4]));
    bench.advance(9_700);
    assert_eq!(bench.acked(ack), Some(Err(AckRefusal::Uncommitted)));
}

#[test]
fn a_token_of_another_subscription_instance_or_generation_acknowledges_nothing() {
    for change in [
        (|token| token.check = 8) as fn(&mut DeliveryToken),
        |token| token.instance = 8,
        |token| token.generation = Generation(1),
        |token| token.attempt = 2,
        |token| token.id = 3,
    ] {
        let mut bench = Bench::new(1, &[], 3);
        let mut token = tokens(&bench.pop(named("a"), &[], 2))[0];
        change(&mut token);
        let ack = bench.ack(&[token]);
        assert!(matches!(bench.acked(ack), Some(Err(AckRefusal::Expired(_)))), "{token:?}");
        assert_eq!(bench.dispatcher.position(), 0, "{token:?}");
    }
}

#[test]
fn a_take_over_starts_from_what_was_committed_and_honors_tokens_until_it_hands_out_again() {
    let mut old = Bench::new(1, &[], 9);
    let given = tokens(&old.pop(named("a"), &[], 4));
    let mut new = Bench::new(2, &[3..4], 9);
    assert_eq!(ids(&new.pop(named("b"), &[], 1)), [(1, 1)], "handed out is not delivered");
    let refused = new.ack(&given[..1]);
    assert!(matches!(new.acked(refused), Some(Err(AckRefusal::Expired(_)))), "b has it now");
    assert_eq!(ids(&new.pop(named("a"), &given[1..], 9)), [(5, 1), (6, 1), (7, 1), (8, 1), (9, 1)]);
    new.advance(210);
    assert_eq!(new.commit(), [2..3, 4..5]);
}

#[test]
fn a_token_of_an_earlier_dispatcher_counts_only_within_its_reach() {
    let mut bench = Bench::new(5, &[], 9);
    let token = |id| DeliveryToken {
        check: 7,
        instance: 9,
        generation: Generation(0),
        token: FencingToken(4),
        id,
        attempt: 1,
    };
    let far = bench.ack(&[token(1 + DELIVERY_WINDOW_MAX + HANDED_OUT_MAX)]);
    assert!(matches!(bench.acked(far), Some(Err(AckRefusal::Expired(_)))));
    let near = bench.ack(&[token(DELIVERY_WINDOW_MAX + HANDED_OUT_MAX)]);
    bench.commit();
    assert_eq!(bench.acked(near), Some(Ok(())));
}

#[test]
fn a_token_of_a_later_dispatcher_makes_it_ask_whether_it_still_has_the_subscription() {
    let mut bench = Bench::new(1, &[], 9);
    let later = DeliveryToken {
        check: 7,
        instance: 9,
        generation: Generation(0),
        token: FencingToken(2),
        id: 1,
        attempt: 1,
    };
    let pop = bench.begin(named("a"), &[later], 1, 0);
    bench.outcome(pop);
    let waiting = bench.begin(named("b"), &[], 1, 9_000);
    bench.outcome(waiting);
    let waiting = bench.begin(named("c"), &[], 100, 9_000);
    bench.outcome(waiting);
    let waiting = bench.begin(named("d"), &[], 100, 9_000);
    let (number, _) = bench.commit.take().expect("asked at once");
    bench.step(Event::CommitRefused { number });
    assert!(bench.ended);
    assert_eq!(bench.outcome(waiting), Some(Err(PopRefusal::Elsewhere)));
    let late = bench.begin(named("a"), &[], 1, 0);
    assert_eq!(bench.outcome(late), Some(Err(PopRefusal::Elsewhere)));
}

#[test]
fn from_five_hundred_handed_out_it_confirms_and_at_a_thousand_a_pop_waits() {
    let mut bench = Bench::new(1, &[], 3_000);
    bench.pop(named("a"), &[], HANDED_OUT_COMMIT_AT - 1);
    assert!(bench.commit.is_none());
    assert_eq!(bench.pop(named("b"), &[], 600).len(), 501, "as many as there are until the thousandth");
    assert_eq!(
        bench.commit.as_ref().map(|(_, set)| set.is_empty()),
        Some(true),
        "only the token is confirmed"
    );
    let starved = bench.begin(named("c"), &[], 1, 0);
    bench.advance(9_899);
    assert_eq!(bench.outcome(starved), None, "within its deadline, not its wait");
    bench.advance(1);
    assert_eq!(bench.outcome(starved), Some(Err(PopRefusal::Uncommitted)));
    let served = bench.begin(named("c"), &[], 1, 0);
    bench.commit();
    assert_eq!(bench.outcome(served).unwrap().unwrap().len(), 1);
}

#[test]
fn what_was_handed_out_while_a_commit_was_under_way_still_counts() {
    let mut bench = Bench::new(1, &[], 3_000);
    bench.pop(named("a"), &[], 500);
    bench.pop(named("b"), &[], 400);
    bench.commit();
    assert_eq!(bench.pop(named("c"), &[], 1_000).len(), 600, "400 of them came after the commit began");
}

#[test]
fn beyond_the_window_only_redeliveries_are_handed_out() {
    let mut bench = Bench::new(1, &[], 30_000);
    let first = bench.pop(named("slow"), &[], 1);
    let mut echo = Vec::new();
    let mut delivered = 1;
    for _ in 0..40 {
        let given = bench.pop(named("fast"), &echo, 900);
        delivered += given.len() as u64;
        echo = tokens(&given);
        bench.advance(210);
        bench.commit_all();
    }
    assert_eq!(delivered, DELIVERY_WINDOW_MAX, "the highest is below 1 + the window");
    assert_eq!(ids(&bench.pop(named("other"), &[], 5)), [], "beyond the window there is nothing");
    assert_eq!(ids(&bench.pop(named("slow"), &[], 5)), [(1, 2)]);
    let free = bench.pop(named("slow"), &tokens(&first), 1);
    assert_eq!(ids(&free), [(DELIVERY_WINDOW_MAX + 1, 1)]);
}

#[test]
fn nothing_to_deliver_is_an_empty_answer_at_the_end_of_the_wait() {
    let mut bench = Bench::new(1, &[], 0);
    assert_eq!(ids(&bench.pop(named("a"), &[], 1)), [], "the first read says that there is nothing");
    let waiting = bench.begin(named("a"), &[], 1, 5_000);
    bench.advance(4_999);
    assert_eq!(bench.outcome(waiting), None);
    bench.advance(1);
    assert_eq!(bench.outcome(waiting), Some(Ok(Vec::new())));
}

#[test]
fn a_waiting_pop_is_answered_by_the_next_message_first_come_first_served() {
    let mut bench = Bench::new(1, &[], 0);
    let a = bench.begin(named("a"), &[], 2, 5_000);
    let b = bench.begin(named("b"), &[], 2, 5_000);
    bench.push(3);
    assert_eq!(ids(&bench.outcome(a).unwrap().unwrap()), [(1, 1), (2, 1)]);
    assert_eq!(ids(&bench.outcome(b).unwrap().unwrap()), [(3, 1)]);
}

#[test]
fn a_client_has_one_pop_at_a_time() {
    let mut bench = Bench::new(1, &[], 0);
    let first = bench.begin(named("a"), &[], 1, 5_000);
    let second = bench.begin(named("a"), &[], 1, 5_000);
    assert_eq!(bench.outcome(first), Some(Err(PopRefusal::Replaced)));
    bench.push(1);
    assert_eq!(bench.outcome(second).unwrap().unwrap().len(), 1);
}

#[test]
fn the_first_message_comes_whatever_its_size() {
    let mut bench = Bench::new(1, &[], 9);
    for (bytes_max, expected) in [(1, 1), (250, 2), (300, 3)] {
        bench.pops += 1;
        let (number, now_ms) = (bench.pops, bench.now_ms);
        bench.step(Event::Pop(Pop {
            number,
            client: Client::Nameless,
            echoed: Vec::new(),
            share: None,
            round: 0,
            messages_max: 10,
            bytes_max,
            wait_until_ms: now_ms,
            deadline_ms: now_ms + 1_000,
            releases: false,
        }));
        assert_eq!(bench.outcome(number).unwrap().unwrap().len(), expected);
    }
}

#[test]
fn an_answer_that_could_not_be_given_goes_to_the_next_who_asks() {
    let mut bench = Bench::new(1, &[], 3);
    let deliveries = tokens(&bench.pop(named("gone"), &[], 2));
    bench.step(Event::TakenBack { deliveries, expired: Vec::new() });
    assert_eq!(ids(&bench.pop(named("b"), &[], 3)), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn without_a_store_that_answers_a_pop_fails_at_its_deadline() {
    let mut dispatcher: Dispatcher<Message> = Dispatcher::new(lease(1, &[]));
    let mut effects = Vec::new();
    let pop = |number, wait_until_ms| Pop {
        number,
        client: Client::Nameless,
        echoed: Vec::new(),
        share: None,
        round: 0,
        messages_max: 1,
        bytes_max: 1,
        wait_until_ms,
        deadline_ms: 1_000,
        releases: false,
    };
    dispatcher.step(0, Event::Pop(pop(1, 0)), &mut effects);
    let [Effect::Read(wanted)] = effects[..] else { panic!("{effects:?}") };
    effects.clear();
    dispatcher.step(
        5,
        Event::ReadFailed { number: wanted.number, retry_ms: 100, damaged: None },
        &mut effects,
    );
    assert_eq!((effects.as_slice(), dispatcher.wake_at()), (&[][..], Some(105)));
    dispatcher.step(105, Event::Time, &mut effects);
    let [Effect::Read(wanted)] = effects[..] else { panic!("{effects:?}") };
    dispatcher.step(1_000, Event::Time, &mut effects);
    assert_eq!(effects.pop(), Some(Effect::Refuse { pop: 1, why: PopRefusal::Unreadable }));
    let damaged = |read: Wanted| Event::ReadFailed { number: read.number, retry_ms: 9, damaged: Some(1) };
    dispatcher.step(1_001, damaged(wanted), &mut effects);
    dispatcher.step(1_002, Event::Pop(Pop { deadline_ms: 5_000, ..pop(2, 4_000) }), &mut effects);
    assert_eq!(dispatcher.wake_at(), Some(1_010), "it may be mended: it is read again");
    effects.clear();
    dispatcher.step(1_010, Event::Time, &mut effects);
    let [Effect::Read(wanted)] = effects[..] else { panic!("{effects:?}") };
    dispatcher.step(1_011, damaged(wanted), &mut effects);
    assert_eq!(
        effects.pop(),
        Some(Effect::Refuse { pop: 2, why: PopRefusal::Damaged(1) }),
        "DATA_LOSS names the ID"
    );
}

#[test]
fn what_is_not_in_memory_any_more_is_read_again_before_anything_later_is_given() {
    let mut bench = Bench::new(1, &[], 5);
    bench.pop(named("a"), &[], 2);
    bench.dispatcher.shed();
    let again = bench.pop(named("a"), &[], 9);
    assert_eq!(ids(&again), [(1, 2), (2, 2)]);
    assert_eq!(ids(&bench.pop(named("a"), &tokens(&again), 9)), [(3, 1), (4, 1), (5, 1)]);
}

#[test]
fn what_was_shed_is_read_anew_when_somebody_asks_and_not_before() {
    let mut bench = Bench::new(1, &[], 3_000);
    let first = bench.pop(named("a"), &[], 100);
    let mut effects = Vec::new();
    let pop = |number, echoed: &[DeliveryToken]| Pop {
        number,
        client: named("a"),
        echoed: echoed.iter().map(|&token| token.into()).collect(),
        share: None,
        round: 0,
        messages_max: 450,
        bytes_max: 1 << 20,
        wait_until_ms: 1_000,
        deadline_ms: 9_000,
        releases: false,
    };
    bench.dispatcher.step(1_000, Event::Pop(pop(90, &tokens(&first))), &mut effects);
    let Some(Effect::Read(beyond)) = effects.iter().find(|effect| matches!(effect, Effect::Read(_))) else {
        panic!("it reads ahead: {effects:?}")
    };
    let beyond = *beyond;
    bench.dispatcher.shed();
    effects.clear();
    let messages = vec![Message(beyond.from, None)];
    let read =
        Event::Read { number: beyond.number, first_id: beyond.from, messages, more: true, earliest: 1 };
    bench.dispatcher.step(1_000, read, &mut effects);
    assert_eq!((effects.len(), bench.dispatcher.held_bytes()), (0, 0), "it began before and lies beyond");
    bench.dispatcher.step(1_000, Event::Pop(pop(91, &[])), &mut effects);
    let [Effect::Read(wanted)] = effects[..] else { panic!("{effects:?}") };
    assert_eq!((wanted.from, wanted.wait), (101, false), "what it was given and has not echoed");
}

#[test]
fn ahead_is_read_in_large_batches_and_not_at_the_end_of_the_topic() {
    let mut bench = Bench::new(1, &[], 5_000);
    let mut echo = Vec::new();
    let mut reads = BTreeSet::new();
    for _ in 0..5_000 {
        let given = bench.pop(named("a"), &echo, 1);
        assert_eq!(given.len(), 1);
        echo = tokens(&given);
        reads.insert(bench.dispatcher.reading.begun());
        bench.advance(210);
        bench.commit_all();
    }
    assert!(reads.len() <= 12, "{} reads for 5,000 pops", reads.len());
    let begun = bench.dispatcher.reading.begun();
    bench.advance(60_000);
    assert_eq!(
        (bench.dispatcher.reading.begun(), bench.reads.len()),
        (begun, 0),
        "nothing is read for nobody"
    );
}

#[test]
fn an_empty_answer_waits_for_nothing_but_a_read_that_began_after_its_pop() {
    let mut bench = Bench::new(1, &[], 1);
    let given = tokens(&bench.pop(named("a"), &[], 1));
    assert_eq!(ids(&bench.pop(named("a"), &given, 1)), [], "at once");
    bench.advance(500);
    bench.last = 2;
    assert_eq!(
        ids(&bench.pop(named("a"), &[], 1)),
        [(2, 1)],
        "a store has it, although the read that waits there has not answered yet"
    );
}

#[test]
fn a_pop_that_waits_is_answered_empty_at_the_end_of_its_wait_and_not_later() {
    let mut bench = Bench::new(1, &[], 1);
    let given = tokens(&bench.pop(named("a"), &[], 1));
    for wait_ms in [1, 40, 60, 1_000, 9_900] {
        let pop = bench.begin(named("a"), &given, 1, wait_ms);
        bench.advance(wait_ms - 1);
        assert_eq!(bench.outcome(pop), None, "{wait_ms}");
        bench.advance(1);
        assert_eq!(bench.outcome(pop), Some(Ok(Vec::new())), "{wait_ms}");
    }
    bench.advance(500);
    let pop = bench.begin(named("a"), &given, 1, 1_000);
    bench.advance(900);
    bench.last = 2;
    bench.advance(100);
    assert_eq!(ids(&bench.outcome(pop).unwrap().unwrap()), [(2, 1)], "it has looked before it says so");
}

#[test]
fn an_expired_range_is_told_until_somebody_has_acknowledged_it() {
    let mut bench = Bench::new(1, &[], 0);
    let told = |bench: &mut Bench| {
        let Some(Effect::Deliver { pop, deliveries, expired }) = bench.effects.pop() else {
            panic!("not answered")
        };
        (pop, deliveries, expired)
    };
    let ranges = |expired: &[NoticeToken]| expired.iter().map(|one| one.from..one.to).collect::<Vec<_>>();
    let waiting = bench.begin(named("a"), &[], 9, 5_000);
    let wanted = bench.reads.pop().unwrap();
    let messages = vec![Message(4, None), Message(5, None)];
    bench.step(Event::Read { number: wanted.number, first_id: 4, messages, more: false, earliest: 4 });
    let (pop, deliveries, expired) = told(&mut bench);
    assert_eq!((pop, ids(&deliveries)), (waiting, vec![(4, 1), (5, 1)]));
    assert_eq!(ranges(&expired), [1..4]);
    bench.advance(210);
    assert_eq!((bench.dispatcher.position(), &bench.commit), (0, &None), "nobody says that it has heard it");
    bench.step(Event::TakenBack { deliveries: tokens(&deliveries), expired });
    let waiting = bench.begin(named("b"), &[], 1, 5_000);
    let (pop, deliveries, expired) = told(&mut bench);
    assert_eq!((pop, ids(&deliveries), ranges(&expired)), (waiting, vec![(4, 1)], vec![1..4]), "to the next");
    let waiting = bench.begin(named("c"), &[], 1, 5_000);
    let (pop, deliveries, others) = told(&mut bench);
    assert_eq!((pop, ids(&deliveries), others), (waiting, vec![(5, 1)], vec![]), "b was told");
    bench.begin(named("b"), &[], 1, 5_000);
    assert_eq!(ranges(&told(&mut bench).2), [1..4], "the answer may be lost");
    bench.pops += 1;
    let (ack, deadline_ms) = (bench.pops, bench.now_ms + 9_000);
    bench.step(Event::Ack { ack, tokens: vec![expired[0].into()], deadline_ms });
    assert_eq!((bench.dispatcher.position(), bench.commit()), (3, vec![1..4]));
    assert_eq!(bench.acked(ack), Some(Ok(())));
}

#[test]
fn what_is_expired_holds_up_nothing_while_nobody_has_acknowledged_it() {
    let mut bench = Bench::new(1, &[], 0);
    bench.begin(named("a"), &[], 9, 5_000);
    let wanted = bench.reads.pop().unwrap();
    let first_id = 2 * DELIVERY_WINDOW_MAX;
    let messages = vec![Message(first_id, None)];
    bench.step(Event::Read { number: wanted.number, first_id, messages, more: false, earliest: first_id });
    let Some(Effect::Deliver { deliveries, expired, .. }) = bench.effects.pop() else { panic!("no answer") };
    assert_eq!((ids(&deliveries), expired[0].to), (vec![(first_id, 1)], first_id));
}

#[test]
fn a_pop_whose_caller_is_gone_gets_nothing_and_holds_no_place() {
    let mut bench = Bench::new(1, &[], 0);
    let mut pops: Vec<u64> = Vec::new();
    for _ in 0..WAITING_POPS_MAX {
        pops.push(bench.begin(Client::Nameless, &[], 1, 5_000));
    }
    let refused = bench.begin(named("a"), &[], 1, 5_000);
    assert_eq!(bench.outcome(refused), Some(Err(PopRefusal::TooManyWaiting)));
    bench.step(Event::Abandoned { pops: pops.clone() });
    let waiting = bench.begin(named("a"), &[], 9, 5_000);
    bench.push(2);
    assert_eq!(ids(&bench.outcome(waiting).unwrap().unwrap()), [(1, 1), (2, 1)]);
    bench.advance(5_000);
    assert!(pops.into_iter().all(|pop| bench.outcome(pop).is_none()), "nobody listens");
}

#[test]
fn a_release_counts_what_is_echoed_commits_it_and_sends_the_caller_on() {
    let mut bench = Bench::new(1, &[], 9);
    let given = tokens(&bench.pop(named("far"), &[], 2));
    let local = bench.begin(named("near"), &[], 9, 5_000);
    bench.outcome(local);
    let local = bench.begin(named("near2"), &[], 9, 5_000);
    let now_ms = bench.now_ms;
    bench.step(Event::Pop(Pop {
        number: 77,
        client: named("far"),
        echoed: given.into_iter().map(Token::from).collect(),
        share: None,
        round: 0,
        messages_max: 1,
        bytes_max: 1,
        wait_until_ms: now_ms,
        deadline_ms: now_ms + 900,
        releases: true,
    }));
    assert_eq!(bench.outcome(77), None);
    assert_eq!(bench.commit(), [1..3], "at once, without waiting for more");
    assert_eq!(bench.outcome(77), Some(Err(PopRefusal::Elsewhere)));
    assert_eq!(bench.outcome(local), Some(Err(PopRefusal::Elsewhere)));
    assert!(bench.ended);
}

#[test]
fn a_release_without_anything_to_commit_is_prompt_and_one_whose_commit_fails_ends_too() {
    let mut bench = Bench::new(1, &[], 0);
    bench.step(Event::Release);
    assert!(bench.ended);
    let mut bench = Bench::new(1, &[], 1);
    let given = tokens(&bench.pop(named("a"), &[], 1));
    let ack = bench.ack(&given);
    bench.step(Event::Release);
    let (number, _) = bench.commit.take().unwrap();
    bench.step(Event::CommitFailed { number, retry_ms: 100 });
    assert_eq!((bench.ended, bench.acked(ack)), (true, Some(Err(AckRefusal::Elsewhere))));
}

#[test]
fn a_dispatcher_that_nobody_asks_is_idle_and_reads_when_somebody_does() {
    let mut bench = Bench::new(1, &[], 1);
    let given = tokens(&bench.pop(named("a"), &[], 1));
    assert!(!bench.dispatcher.is_idle());
    assert_eq!(ids(&bench.pop(named("a"), &given, 1)), []);
    bench.advance(210);
    bench.commit();
    assert!(bench.dispatcher.is_idle());
    assert_eq!((bench.reads.len(), bench.dispatcher.wake_at()), (0, None));
    bench.last = 2;
    assert_eq!(ids(&bench.pop(named("a"), &[], 1)), [(2, 1)]);
}
