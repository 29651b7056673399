//! Order time: what the clocks of the voters agree on, carried by entries, and the only time by which messages have
//! an age. One wrong clock of three moves nothing; of fewer, none that jumps is followed.
//!
//! Elapsed time is given by the caller, since any moment that stays the same.

use std::collections::BTreeMap;
use std::time::Duration;

use trunkline_types::NodeId;
use trunkline_types::limits::{CLOCK_JUMP_MAX, CLOCKS_TRUSTED_MIN, ORDER_TIME_STEP, SILENCE_MAX};

/// What a clock showed (milliseconds since 1970), and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    ms: u64,
    at: Duration,
}

impl Reading {
    fn is_recent(self, at: Duration) -> bool {
        at.saturating_sub(self.at) <= SILENCE_MAX
    }

    /// What it shows later, if it goes right.
    fn later(self, at: Duration) -> u64 {
        self.ms.saturating_add(ms(at.saturating_sub(self.at)))
    }
}

/// The clocks of the other voters, as they were last heard.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    heard: BTreeMap<NodeId, Reading>,
}

impl Clocks {
    pub fn hear(&mut self, voter: NodeId, clock_ms: u64, at: Duration) {
        self.heard.retain(|_, reading| reading.is_recent(at));
        self.heard.insert(voter, Reading { ms: clock_ms, at });
    }

    /// What the clocks of the voters that are not silent show now.
    pub fn now(&self, at: Duration) -> Vec<u64> {
        let recent = self.heard.values().filter(|reading| reading.is_recent(at));
        recent.map(|reading| reading.later(at)).collect()
    }
}

/// What a voter knows of its group's order time, whether it leads or not.
#[derive(Clone, Debug, Default)]
pub struct OrderTime {
    applied: Reading,
    /// By this leadership; it may be lost.
    proposed: Reading,
    /// The clocks show a step that is not taken.
    is_held: bool,
}

impl OrderTime {
    /// The group's state has come to this order time.
    pub fn applied(&mut self, order_time_ms: u64, at: Duration) {
        if order_time_ms > self.applied.ms {
            self.applied = Reading { ms: order_time_ms, at };
        }
    }

    /// Another leadership begins, or something was lost that was proposed: it will not be taken for known.
    pub fn forget(&mut self) {
        self.proposed = self.applied;
    }

    /// Where order time stands by these clocks, this voter's own among them; `None`: where it was.
    pub fn look(&mut self, clocks: Vec<u64>, at: Duration) -> Option<u64> {
        let clocks_heard = clocks.len();
        let median = lower_median(clocks)?;
        let known = self.known();
        let jump = median.abs_diff(known.later(at));
        // (Later, beside the trimming that this holds up: unless an operator has confirmed it.)
        self.is_held = known.ms > 0 && clocks_heard < CLOCKS_TRUSTED_MIN && jump > ms(CLOCK_JUMP_MAX);
        (!self.is_held && median > known.ms).then_some(median)
    }

    /// The same for an entry that is proposed now. 0: it shares the order time of the one before.
    pub fn propose(&mut self, clocks: Vec<u64>, at: Duration) -> u64 {
        let step = ms(ORDER_TIME_STEP);
        match self.look(clocks, at) {
            Some(now) if now >= self.known().ms.saturating_add(step) => {
                self.proposed = Reading { ms: now, at };
                now
            }
            Some(_) | None => 0,
        }
    }

    /// With fewer than three clocks they show a step that differs from elapsed time: order time stands still, and
    /// nothing may be trimmed by it.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    fn known(&self) -> Reading {
        if self.proposed.ms > self.applied.ms { self.proposed } else { self.applied }
    }
}

/// What most clocks have reached, be one of them wrong.
pub fn lower_median(mut clocks: Vec<u64>) -> Option<u64> {
    clocks.sort_unstable();
    clocks.get(clocks.len().checked_sub(1)? / 2).copied()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const DAY: i64 = 24 * 3_600_000;
    const START: Duration = Duration::from_secs(1_000);

    fn off(by: i64) -> u64 {
        NOW.saturating_add_signed(by)
    }

    /// Order time that stood at `NOW` at `START`.
    fn known() -> OrderTime {
        let mut time = OrderTime::default();
        time.applied(NOW, START);
        time
    }

    #[test]
    fn order_time_is_the_lower_median_of_the_clocks_and_with_fewer_than_three_no_jump_is_followed() {
        // How far each clock is off, the leader's first; after ten seconds.
        let cases: [(&str, &[i64], Option<i64>, bool); 14] = [
            ("all right", &[0, 0, 0], Some(0), false),
            ("the leader's 100 days ahead", &[100 * DAY, 0, 5], Some(5), false),
            ("the leader's 100 days behind", &[-100 * DAY, 0, 5], Some(0), false),
            ("another's ahead", &[0, 5, 100 * DAY], Some(5), false),
            ("all agree on a jump", &[DAY, DAY, DAY], Some(DAY), false),
            ("all agree on one back: it stands still", &[-DAY, -DAY, -DAY], None, false),
            ("of four the lower of the two in the middle", &[30, 0, 20, 10], Some(10), false),
            ("two: the lower one", &[9, 5], Some(5), false),
            ("two, one ahead: the lower one", &[100 * DAY, 0], Some(0), false),
            ("two, both ahead", &[100 * DAY, 100 * DAY], None, true),
            ("two, one behind", &[0, -100 * DAY], None, true),
            ("one, a little ahead", &[60_000], Some(60_000), false),
            ("one, more than a minute ahead", &[60_001], None, true),
            ("one, more than a minute behind", &[-60_001], None, true),
        ];
        let later = Duration::from_secs(10);
        for (name, clocks, expected, held) in cases {
            let mut time = known();
            let readings = || clocks.iter().map(|by| off(*by) + ms(later)).collect();
            let expected = expected.map(|by| off(by) + ms(later));
            assert_eq!(time.look(readings(), START + later), expected, "{name}");
            assert_eq!(time.is_held(), held, "{name}");
            assert_eq!(time.propose(readings(), START + later), expected.unwrap_or(0), "{name}");
        }
        assert_eq!(OrderTime::default().look(vec![], START), None, "no clock at all");
    }

    #[test]
    fn a_group_that_was_idle_for_long_has_no_jump() {
        let later = Duration::from_secs(3_600);
        assert_eq!(known().propose(vec![off(0) + ms(later)], START + later), off(0) + ms(later));
    }

    #[test]
    fn the_first_order_time_is_what_the_clocks_show() {
        assert_eq!(OrderTime::default().propose(vec![off(DAY), off(0)], START), NOW);
    }

    #[test]
    fn order_time_is_held_until_the_clock_is_right_or_a_third_one_agrees() {
        let ended: [(&str, &[i64]); 2] = [("set right", &[0]), ("two others", &[100 * DAY, 100 * DAY, 0])];
        for (name, clocks) in ended {
            let mut time = known();
            assert_eq!(time.propose(vec![off(100 * DAY)], START), 0);
            assert_eq!(time.propose(vec![off(100 * DAY) + 1_000], START + Duration::from_secs(1)), 0);
            assert!(time.is_held(), "{name}: however often it is shown");
            let readings = clocks.iter().map(|by| off(*by) + 2_000).collect();
            assert!(time.propose(readings, START + Duration::from_secs(2)) > 0, "{name}");
            assert!(!time.is_held(), "{name}");
        }
    }

    #[test]
    fn entries_of_one_step_share_an_order_time() {
        let mut time = known();
        let mut at = |after: u64| {
            let at = Duration::from_millis(after);
            let shown = vec![off(0) + after; 3];
            time.propose(shown, START + at).checked_sub(NOW)
        };
        assert_eq!(
            [at(99), at(100), at(101), at(199), at(200), at(500)],
            [None, Some(100), None, None, Some(200), Some(500)]
        );
    }

    #[test]
    fn what_was_proposed_and_lost_is_proposed_again() {
        let mut time = known();
        let shown = || vec![off(150); 3];
        let at = START + Duration::from_millis(150);
        assert_eq!([time.propose(shown(), at), time.propose(shown(), at)], [off(150), 0]);
        time.forget();
        assert_eq!(time.propose(shown(), at), off(150));
        time.applied(off(150), at);
        time.forget();
        assert_eq!(time.propose(shown(), at), 0);
        time.applied(off(-5), at);
        assert_eq!(time.propose(shown(), at), 0, "it never goes back");
    }

    #[test]
    fn a_clock_goes_on_after_it_was_heard_and_one_that_falls_silent_is_none() {
        let mut clocks = Clocks::default();
        clocks.hear(NodeId(1), off(0), START);
        clocks.hear(NodeId(2), off(7), START);
        clocks.hear(NodeId(1), off(500), START + Duration::from_millis(500));
        assert_eq!(clocks.now(START + SILENCE_MAX), [off(0) + ms(SILENCE_MAX), off(7) + ms(SILENCE_MAX)]);
        assert_eq!(clocks.now(START + SILENCE_MAX + Duration::from_millis(1)).len(), 1);
        assert_eq!(clocks.now(START + 2 * SILENCE_MAX), Vec::<u64>::new());
    }
}
