//! Random schedules: clients that lose replies, give back or vanish, servers that die or are deposed without knowing,
//! commits that are lost before or after they are applied; in every ack mode, with and without keys. Then a calm phase in
//! which everything must come to its end.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trunkline_delivery::dispatcher::{
    Client, DeliveryToken, Dispatcher, Effect, Event, Handed, Key, Lease, Payload, Policy, Pop, Token,
    Wanted, subscription_check,
};
use trunkline_delivery::position::{
    AckMode, Acquire, Answer, Commit, Create, DispatcherNode, Entry, Options, Positions, Retry, Start,
    Subscription,
};
use trunkline_types::{ConsumerName, NodeId, TopicId, TopicName};

const TOPIC: TopicId = TopicId(65_536);
const ACK_DEADLINE_MS: u32 = 2_000;
/// One message in so many has no key; the others have one of so many less one.
const KEYS: u64 = 4;
/// This one pops as a Consume stream does.
const STREAM: usize = 2;

fn key_of(id: u64) -> Option<Key> {
    Some(id % KEYS).filter(|&key| key > 0)
}

#[derive(Clone, Debug)]
struct Message(u64);

impl Payload for Message {
    fn bytes(&self) -> u64 {
        1_000
    }

    fn key(&self) -> Option<Key> {
        key_of(self.0)
    }
}

#[derive(Clone, Debug)]
enum Act {
    Push(u64),
    /// Reads that wait at a store are answered.
    Arrive,
    /// Client, server, messages, how many of the reply are processed (or the reply is lost).
    Pop {
        client: usize,
        server: usize,
        messages_max: u64,
        processed: usize,
        lost: bool,
        waits: bool,
    },
    /// A client acknowledges what it has processed, by Ack.
    Ack {
        client: usize,
        server: usize,
    },
    /// A client gives back what it has processed last, with a delay.
    Nack {
        client: usize,
        server: usize,
        delay_ms: u64,
    },
    /// A client asks for more time.
    Extend {
        client: usize,
        server: usize,
    },
    /// The Consume stream ends.
    Left {
        server: usize,
    },
    /// The commit under way is lost before (false) or after it is applied, or succeeds.
    Commit {
        server: usize,
        applied: bool,
        answered: bool,
    },
    Time(u64),
    /// Another server takes the subscription; the one before does not know.
    TakeOver {
        server: usize,
    },
    Shed {
        server: usize,
    },
    Release {
        server: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (1u64..20).prop_map(Act::Push),
        2 => Just(Act::Arrive),
        8 => (0usize..3, 0usize..2, 1u64..6, 0usize..6, prop::bool::weighted(0.2), any::<bool>()).prop_map(
            |(client, server, messages_max, processed, lost, waits)| {
                Act::Pop { client, server, messages_max, processed, lost, waits }
            }
        ),
        2 => (0usize..3, 0usize..2).prop_map(|(client, server)| Act::Ack { client, server }),
        1 => (0usize..3, 0usize..2, 0u64..800)
            .prop_map(|(client, server, delay_ms)| Act::Nack { client, server, delay_ms }),
        1 => (0usize..3, 0usize..2).prop_map(|(client, server)| Act::Extend { client, server }),
        1 => (0usize..2).prop_map(|server| Act::Left { server }),
        4 => (0usize..2, any::<bool>(), any::<bool>())
            .prop_map(|(server, applied, answered)| Act::Commit { server, applied, answered }),
        3 => (1u64..1_500).prop_map(Act::Time),
        1 => (0usize..2).prop_map(|server| Act::TakeOver { server }),
        1 => (0usize..2).prop_map(|server| Act::Shed { server }),
        1 => (0usize..2).prop_map(|server| Act::Release { server }),
    ]
}

struct WaitingPop {
    client: usize,
    processed: usize,
    lost: bool,
    /// The topic's last message when it began.
    last: u64,
}

struct Held {
    client: usize,
    due_ms: u64,
    token: DeliveryToken,
}

#[derive(Default)]
struct Server {
    dispatcher: Option<Dispatcher<Message>>,
    /// The one that does not wait, and the one that does.
    reads: [Option<Wanted>; 2],
    commit: Option<(u64, Commit)>,
    lease: Option<Subscription>,
    waiting: BTreeMap<u64, WaitingPop>,
    /// Who has what of this dispatcher, until when, as the clients must take it.
    holds: BTreeMap<u64, Held>,
}

impl Server {
    /// It comes again, and the later ones of its key with it.
    fn comes_again(&mut self, id: u64) {
        if self.holds.remove(&id).is_some() {
            self.holds.retain(|&other, _| other < id || key_of(id).is_none() || key_of(other) != key_of(id));
        }
    }

    fn expire(&mut self, now_ms: u64) {
        let due: Vec<u64> =
            self.holds.iter().filter(|(_, held)| held.due_ms <= now_ms).map(|(&id, _)| id).collect();
        due.into_iter().for_each(|id| self.comes_again(id));
    }
}

struct World {
    mode: AckMode,
    positions: Positions,
    index: u64,
    servers: [Server; 2],
    now_ms: u64,
    last: u64,
    numbers: u64,
    /// Tokens that a client has processed and not yet seen answered.
    echo: [Vec<DeliveryToken>; 3],
    /// Of the stream: answers that have come to it.
    round: u64,
    delivered: BTreeSet<u64>,
    processed: BTreeSet<u64>,
}

fn consumer() -> ConsumerName {
    ConsumerName::new("c").unwrap()
}

fn client(number: usize) -> Client {
    let name = ["a", "b", "c"][number].into();
    if number == STREAM { Client::Stream(name) } else { Client::Named(name) }
}

impl World {
    fn new(mode: AckMode) -> Self {
        let mut positions = Positions::default();
        let options = Options {
            start: Start::Earliest,
            ack_mode: mode,
            ack_deadline_ms: ACK_DEADLINE_MS,
            retry: Retry { min_ms: 0, max_ms: 0 },
            dead_letter: None,
        };
        let topic = TopicName::new("t").unwrap();
        let create = Create { topic_id: TOPIC, topic, consumer: consumer(), options, start_id: 1 };
        positions.apply(1, Entry::Create(create));
        let mut world = Self {
            mode,
            positions,
            index: 1,
            servers: Default::default(),
            now_ms: 0,
            last: 0,
            numbers: 0,
            echo: Default::default(),
            round: 0,
            delivered: BTreeSet::new(),
            processed: BTreeSet::new(),
        };
        world.take_over(0);
        world
    }

    fn found(&self) -> &Subscription {
        self.positions.find(TOPIC, &consumer()).unwrap()
    }

    fn apply(&mut self, entry: Entry) -> Answer {
        self.index += 1;
        let answer = self.positions.apply(self.index, Entry::decode(&entry.encode()).unwrap());
        let committed = &self.found().acknowledged;
        for id in committed.iter().flatten().filter(|_| self.mode != AckMode::Immediate) {
            assert!(self.processed.contains(&id), "I5: {id} is acknowledged, and nobody has processed it");
        }
        answer
    }

    fn take_over(&mut self, server: usize) {
        let dispatcher =
            DispatcherNode { node: NodeId(1), datacenter: String::new(), address: String::new() };
        let token_seen = self.found().token;
        let entry = Entry::Acquire(Acquire { topic_id: TOPIC, consumer: consumer(), token_seen, dispatcher });
        let Answer::Acquired(lease) = self.apply(entry) else { panic!("not acquired") };
        let dispatcher = Dispatcher::new(Lease {
            check: subscription_check(TOPIC, &consumer()),
            instance: lease.instance,
            generation: lease.generation,
            token: lease.token,
            start_id: lease.start_id,
            acknowledged: lease.acknowledged.clone(),
            counts: lease.counts.clone(),
            policy: Policy::from(&lease.options),
        });
        self.servers[server] =
            Server { dispatcher: Some(dispatcher), lease: Some(*lease), ..Server::default() };
    }

    fn step(&mut self, server: usize, event: Event<Message>) {
        let mut effects = Vec::new();
        self.servers[server].expire(self.now_ms);
        let Some(dispatcher) = &mut self.servers[server].dispatcher else { return };
        dispatcher.step(self.now_ms, event, &mut effects);
        for effect in effects {
            self.carry_out(server, effect);
        }
        self.read(server);
    }

    fn carry_out(&mut self, server: usize, effect: Effect<Message>) {
        let here = &mut self.servers[server];
        match effect {
            Effect::Deliver { pop, deliveries, expired } => {
                assert!(expired.is_empty());
                let WaitingPop { client, processed, lost, last } =
                    here.waiting.remove(&pop).expect("it waits");
                if deliveries.is_empty() && self.mode != AckMode::Immediate {
                    let missed = (1..=last).find(|id| key_of(*id).is_none() && !self.delivered.contains(id));
                    assert_eq!(missed, None, "an empty answer, though this was there before its Pop began");
                }
                self.check_keys(server, client, &deliveries);
                self.receive(client, processed, lost, &deliveries);
            }
            Effect::Refuse { pop, .. } => {
                here.waiting.remove(&pop);
            }
            Effect::Read(wanted) => here.reads[usize::from(wanted.wait)] = Some(wanted),
            Effect::Commit { number, acknowledged, counts, given_back } => {
                assert!(here.commit.is_none(), "one commit at a time");
                let lease = here.lease.as_ref().unwrap();
                let (instance, generation, token) = (lease.instance, lease.generation, lease.token);
                let commit = Commit {
                    topic_id: TOPIC,
                    consumer: consumer(),
                    instance,
                    generation,
                    token,
                    acknowledged,
                    counts,
                    given_back,
                };
                here.commit = Some((number, commit));
            }
            Effect::Ended => *here = Server::default(),
            Effect::Acked { .. } | Effect::AckRefused { .. } => {}
            Effect::Move(dead) => panic!("there is no dead letter topic for {dead:?}"),
        }
    }

    /// The store answers a read that finds something, or need not wait.
    fn read(&mut self, server: usize) {
        let has_answer = |wanted: &mut Wanted| !wanted.wait || wanted.from <= self.last;
        let mut reads = self.servers[server].reads.iter_mut();
        if let Some(wanted) = reads.find_map(|read| read.take_if(has_answer)) {
            let until = (wanted.from + wanted.messages_max).min(self.last + 1);
            let messages = (wanted.from..until).map(Message).collect();
            self.step(
                server,
                Event::Read {
                    number: wanted.number,
                    first_id: wanted.from,
                    messages,
                    more: until <= self.last,
                    earliest: 1,
                },
            );
        }
    }

    /// A key is with one client at a time, and comes in order.
    fn check_keys(&mut self, server: usize, client: usize, deliveries: &[Handed<Message>]) {
        if self.mode == AckMode::Immediate {
            return;
        }
        let due_ms = self.now_ms + u64::from(ACK_DEADLINE_MS);
        let here = &mut self.servers[server];
        for token in deliveries.iter().map(|handed| handed.token) {
            let id = token.id;
            if let Some(key) = key_of(id) {
                let mut holds = here.holds.iter();
                let others =
                    holds.find(|(other, held)| key_of(**other) == Some(key) && held.client != client);
                assert_eq!(
                    others.map(|(other, _)| other),
                    None,
                    "{id} for {client}, while its key is with another"
                );
                let before = (1..id).find(|lower| {
                    key_of(*lower) == Some(key)
                        && !self.processed.contains(lower)
                        && !here.holds.contains_key(lower)
                });
                assert_eq!(before, None, "{id} before this one of its key");
            }
            here.holds.insert(id, Held { client, due_ms, token });
        }
    }

    fn receive(&mut self, client: usize, processed: usize, lost: bool, deliveries: &[Handed<Message>]) {
        for handed in deliveries {
            assert_eq!(handed.token.id, handed.message.0);
            let id = handed.token.id;
            let is_first = self.delivered.insert(id);
            if self.mode == AckMode::Immediate {
                assert!(is_first, "{id} came twice, at most once is promised");
            } else if is_first && key_of(id).is_none() {
                let later = self.delivered.range(id + 1..).find(|later| key_of(**later).is_none());
                assert_eq!(later, None, "{id} came for the first time after this one");
            }
        }
        let fresh = deliveries.iter().filter(|handed| handed.token.attempt == 1);
        let fresh: Vec<u64> = fresh.map(|handed| handed.token.id).collect();
        assert!(fresh.is_sorted(), "{fresh:?}");
        if lost {
            return;
        }
        self.round += u64::from(client == STREAM);
        self.echo[client] = deliveries.iter().take(processed).map(|handed| handed.token).collect();
        self.processed.extend(self.echo[client].iter().map(|token| token.id));
    }

    fn commit(&mut self, server: usize, applied: bool, answered: bool) {
        let Some((number, commit)) = self.servers[server].commit.take() else { return };
        let answer = applied.then(|| self.apply(Entry::Commit(commit)));
        let event = match answer.filter(|_| answered) {
            Some(Answer::Committed) => Event::Committed { number },
            Some(Answer::Refused(_)) => Event::CommitRefused { number },
            Some(other) => panic!("{other:?}"),
            None => Event::CommitFailed { number, retry_ms: 100 },
        };
        self.step(server, event);
    }

    fn pop(
        &mut self,
        client_number: usize,
        server: usize,
        messages_max: u64,
        processed: usize,
        lost: bool,
        waits: bool,
    ) {
        self.numbers += 1;
        let number = self.numbers;
        if self.servers[server].dispatcher.is_none() {
            return;
        }
        let waiting = WaitingPop { client: client_number, processed, lost, last: self.last };
        self.forget_holds(client_number, server);
        self.servers[server].waiting.insert(number, waiting);
        let wait_ms = if waits { 500 } else { 0 };
        let pop = Pop {
            number,
            client: client(client_number),
            echoed: self.echo[client_number].iter().map(|&token| token.into()).collect(),
            share: None,
            round: self.round,
            messages_max,
            bytes_max: 3_500,
            wait_until_ms: self.now_ms + wait_ms,
            deadline_ms: self.now_ms + 1_000,
            releases: false,
        };
        self.step(server, Event::Pop(pop));
    }

    fn tokens(&self, client: usize) -> Vec<Token> {
        self.echo[client].iter().map(|&token| token.into()).collect()
    }

    /// What it acknowledges now, it has no more.
    fn forget_holds(&mut self, client: usize, server: usize) {
        for token in &self.echo[client] {
            self.servers[server].holds.remove(&token.id);
        }
    }

    fn advance(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        loop {
            let wake = |server: &Server| server.dispatcher.as_ref().and_then(Dispatcher::wake_at);
            let next = self.servers.iter().filter_map(wake).min().filter(|&at| at <= until);
            let Some(at) = next else { break };
            assert!(at > self.now_ms, "a dispatcher never asks to be woken in the past");
            self.now_ms = at;
            (0..2).for_each(|server| self.step(server, Event::Time));
        }
        self.now_ms = until;
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Push(count) => self.last += count,
            Act::Arrive => (0..2).for_each(|server| self.read(server)),
            Act::Pop { client, server, messages_max, processed, lost, waits } => {
                self.pop(client, server, messages_max, processed, lost, waits);
            }
            Act::Ack { client, server } => {
                self.numbers += 1;
                let (ack, deadline_ms) = (self.numbers, self.now_ms + 1_000);
                let tokens = self.tokens(client);
                self.forget_holds(client, server);
                self.step(server, Event::Ack { ack, tokens, deadline_ms });
            }
            Act::Nack { client, server, delay_ms } => {
                self.numbers += 1;
                let ack = self.numbers;
                let tokens = self.tokens(client).into_iter().map(|token| (token, Some(delay_ms))).collect();
                for token in &self.echo[client] {
                    let here = &mut self.servers[server];
                    if here.holds.get(&token.id).is_some_and(|held| held.token == *token) {
                        here.comes_again(token.id);
                    }
                }
                self.step(server, Event::Nack { ack, tokens });
            }
            Act::Extend { client, server } => {
                self.numbers += 1;
                let (ack, due_ms) = (self.numbers, self.now_ms + u64::from(ACK_DEADLINE_MS));
                let tokens = self.tokens(client).into_iter().map(|token| (token, due_ms)).collect();
                self.step(server, Event::Extend { ack, tokens });
            }
            Act::Left { server } => {
                let here = &mut self.servers[server];
                let held = here.holds.iter().filter(|(_, held)| held.client == STREAM);
                let held: Vec<u64> = held.map(|(&id, _)| id).collect();
                held.into_iter().for_each(|id| here.comes_again(id));
                here.waiting.retain(|_, waiting| waiting.client != STREAM);
                self.step(server, Event::Left { client: client(STREAM) });
            }
            Act::Commit { server, applied, answered } => self.commit(server, applied, answered),
            Act::Time(ms) => self.advance(ms),
            Act::TakeOver { server } => self.take_over(server),
            Act::Shed { server } => {
                if let Some(dispatcher) = &mut self.servers[server].dispatcher {
                    dispatcher.shed();
                    self.step(server, Event::Time);
                }
            }
            Act::Release { server } => self.step(server, Event::Release),
        }
    }

    /// Nothing fails any more: one client gets and acknowledges everything.
    fn calm(&mut self) {
        self.take_over(0);
        self.servers[1] = Server::default();
        for _ in 0..10_000 {
            if self.found().position() == self.last {
                break;
            }
            self.pop(0, 0, 6, usize::MAX, false, false);
            self.advance(200);
            self.commit(0, true, true);
        }
        assert_eq!(self.found().position(), self.last, "everything is acknowledged in the end");
        let all = (1..=self.last).all(|id| self.processed.contains(&id));
        assert!(all || self.mode == AckMode::Immediate, "every message was delivered");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_at_least_once_in_order_and_none_is_acknowledged_without(
        mode in prop::sample::select(vec![AckMode::OnNextPop, AckMode::Explicit, AckMode::Immediate]),
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut world = World::new(mode);
        for act in &acts {
            world.act(act);
        }
        world.calm();
    }
}
