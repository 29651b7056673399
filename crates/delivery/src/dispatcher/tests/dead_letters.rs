//! What nobody can process goes to the dead letter topic, once.

use super::*;

fn bench(counts: &[(u64, u32)], last: u64) -> Bench {
    let policy = Policy { ack_mode: AckMode::Explicit, attempts_max: Some(3), ..lease(1, &[]).policy };
    let count = |&(id, deliveries): &(u64, u32)| (id, Counts { deliveries, nacks: 1 });
    Bench::with(Lease { policy, counts: counts.iter().map(count).collect(), ..lease(1, &[]) }, last)
}

impl Bench {
    fn dead(&mut self) -> Vec<(u64, Counts)> {
        let is_move = |effect: &mut Effect<Message>| matches!(effect, Effect::Move(_));
        let moves = self.effects.extract_if(.., is_move);
        moves
            .map(
                |effect| {
                    if let Effect::Move(dead) = effect { (dead.id, dead.counts) } else { unreachable!() }
                },
            )
            .collect()
    }
}

#[test]
fn after_its_last_attempt_it_is_moved_and_then_acknowledged() {
    let mut bench = bench(&[], 2);
    let mut last = None;
    for attempt in 1..=3 {
        let given = bench.pop(named("a"), &[], 1);
        assert_eq!(ids(&given), [(1, attempt)]);
        bench.nack(&[(given[0].token, None)]).unwrap();
        last = Some(given[0].token);
    }
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), [(2, 1)], "others go on");
    assert_eq!(bench.dead(), [(1, Counts { deliveries: 3, nacks: 3 })]);
    let late = bench.ack(&[last.unwrap()]);
    assert!(matches!(bench.acked(late), Some(Err(AckRefusal::Expired(_)))), "it is on its way");
    bench.step(Event::MoveFailed { id: 1, retry_ms: 500 });
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), []);
    bench.advance(500);
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), [], "not to a client again");
    assert_eq!(bench.dead().len(), 1);
    assert_eq!(bench.dispatcher.position(), 0);
    bench.step(Event::Moved { id: 1 });
    assert_eq!(bench.dispatcher.position(), 1);
    let late = bench.ack(&[last.unwrap()]);
    assert!(matches!(bench.acked(late), Some(Err(AckRefusal::Expired(_)))), "it was not processed");
}

#[test]
fn attempts_under_earlier_dispatchers_count() {
    let mut bench = bench(&[(1, 3), (2, 2)], 3);
    let given = bench.pop(named("a"), &[], 9);
    assert_eq!(ids(&given), [(2, 1), (3, 1)]);
    assert_eq!(bench.dead(), [(1, Counts { deliveries: 3, nacks: 1 })], "by whom it was to be moved died");
    assert_eq!(
        given.iter().map(|handed| (handed.attempt, handed.nacks)).collect::<Vec<_>>(),
        [(3, 1), (1, 0)]
    );
    bench.advance(30_000);
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), [(3, 2)]);
    assert_eq!(bench.dead(), [(2, Counts { deliveries: 3, nacks: 1 })], "a deadline counts like a nack");
}

#[test]
fn what_came_again_only_for_the_sake_of_its_key_is_not_blamed() {
    let mut bench = bench(&[], 2);
    bench.keys = [(1, 7), (2, 7)].into();
    for _ in 0..3 {
        let given = tokens(&bench.pop(named("a"), &[], 9));
        assert_eq!(given.len(), 2);
        bench.nack(&[(given[0], None)]).unwrap();
    }
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), [], "the key waits until the first is moved");
    assert_eq!(bench.dead().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1]);
    bench.step(Event::Moved { id: 1 });
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), [(2, 4)]);
}

#[test]
fn few_are_moved_at_once_and_the_others_wait() {
    use trunkline_types::limits::DEAD_LETTERS_AT_ONCE;
    let counts: Vec<_> = (1..=40).map(|id| (id, 3)).collect();
    let mut bench = bench(&counts, 41);
    assert_eq!(ids(&bench.pop(named("a"), &[], 9)), [(41, 1)]);
    let first = bench.dead();
    assert_eq!(first.len(), DEAD_LETTERS_AT_ONCE);
    let waiting = bench.begin(named("a"), &[], 9, 9_000);
    first.iter().for_each(|(id, _)| bench.step(Event::Moved { id: *id }));
    bench.advance(1_000);
    assert_eq!((bench.dead().len(), bench.outcome(waiting)), (DEAD_LETTERS_AT_ONCE, None));
}
