//! From whom a follower takes what it lacks of a log: a holder in its own datacenter first; else, if it is relay or the
//! relay makes no progress while there is more, the origin, then any holder with more.

use std::time::Duration;

use trunkline_types::NodeId;

/// The least time without progress after which another source is tried.
pub const PATIENCE_MIN: Duration = Duration::from_millis(200);

/// A store that there is a stream from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub node: NodeId,
    /// It has said that it has so much, on disk (exclusive end).
    pub has: u64,
    /// In this follower's datacenter: it sends unasked what it has.
    pub near: bool,
    /// It is the log's origin, and sends unasked what it has to a relay.
    pub origin: bool,
    pub round_trip: Duration,
}

/// What to say to a holder of another datacenter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Want(NodeId),
    Stop(NodeId),
}

/// The state of one log that somebody has more of.
#[derive(Clone, Copy, Debug)]
pub struct Pull {
    /// Whom this log was asked from.
    asked: Option<NodeId>,
    next: u64,
    progress_at: Duration,
}

impl Pull {
    /// At `now` it turned out that there is more than `next`.
    pub fn new(now: Duration, next: u64) -> Self {
        Self { asked: None, next, progress_at: now }
    }

    pub fn asked(&self) -> Option<NodeId> {
        self.asked
    }

    /// Records came from `from`: whoever else was asked is asked no more.
    pub fn delivered(&mut self, now: Duration, next: u64, from: &Candidate) -> Option<Ask> {
        if next > self.next {
            (self.next, self.progress_at) = (next, now);
        }
        let better = from.near || from.origin;
        match self.asked {
            Some(asked) if asked != from.node && better => {
                self.asked = None;
                Some(Ask::Stop(asked))
            }
            _ => None,
        }
    }

    /// The log's origin sends unasked again: whoever else was asked is asked no more.
    pub fn origin_is_back(&mut self, now: Duration, origin: NodeId) -> Option<Ask> {
        let asked = self.asked.take_if(|asked| *asked != origin)?;
        self.progress_at = now;
        Some(Ask::Stop(asked))
    }

    /// The stream from `node` has ended.
    pub fn lost(&mut self, now: Duration, node: NodeId) {
        if self.asked == Some(node) {
            self.asked = None;
            self.progress_at = now.saturating_sub(PATIENCE_MIN);
        }
    }

    /// What to ask now. `relay`: this follower is the one that fetches the bucket's records from other datacenters.
    pub fn step(&mut self, now: Duration, next: u64, relay: bool, candidates: &[Candidate]) -> Vec<Ask> {
        if next > self.next {
            (self.next, self.progress_at) = (next, now);
        }
        let waited = now.saturating_sub(self.progress_at);
        let patience = |candidate: &Candidate| PATIENCE_MIN.max(candidate.round_trip * 2);
        let near = candidates.iter().any(|c| c.near && (c.has > next || !relay));
        if near && waited < PATIENCE_MIN.max(Self::patience_far(candidates)) {
            return Vec::new();
        }
        if let Some(asked) = candidates.iter().find(|c| Some(c.node) == self.asked)
            && waited < patience(asked)
        {
            return Vec::new();
        }
        let origin = candidates.iter().find(|c| c.origin && !c.near);
        if self.asked.is_none() && relay && origin.is_some_and(|origin| waited < patience(origin)) {
            return Vec::new(); // It sends unasked.
        }
        let Some(choice) = self.choose(next, candidates) else { return Vec::new() };
        let mut asks: Vec<Ask> =
            self.asked.filter(|&before| before != choice).map(Ask::Stop).into_iter().collect();
        asks.push(Ask::Want(choice));
        (self.asked, self.progress_at) = (Some(choice), now);
        asks
    }

    /// How long a sibling is waited for: it may itself wait for the farthest holder that has more.
    fn patience_far(candidates: &[Candidate]) -> Duration {
        candidates.iter().filter(|c| !c.near).map(|c| c.round_trip * 2).max().unwrap_or_default()
    }

    /// The origin, then the nearest; whoever was asked without effect comes last.
    fn choose(&self, next: u64, candidates: &[Candidate]) -> Option<NodeId> {
        candidates
            .iter()
            .filter(|c| !c.near && c.has > next)
            .min_by_key(|c| (Some(c.node) == self.asked, !c.origin, c.round_trip, c.node))
            .map(|c| c.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const SIBLING: NodeId = NodeId(3);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn origin(has: u64) -> Candidate {
        Candidate { node: ORIGIN, has, near: false, origin: true, round_trip: ms(70) }
    }

    fn other(has: u64) -> Candidate {
        Candidate { node: OTHER, has, near: false, origin: false, round_trip: ms(150) }
    }

    fn sibling(has: u64) -> Candidate {
        Candidate { node: SIBLING, has, near: true, origin: false, round_trip: ms(0) }
    }

    #[test]
    fn a_relay_takes_from_the_origin_unasked_and_turns_to_another_holder_when_nothing_comes() {
        let mut pull = Pull::new(ms(0), 5);
        let candidates = [origin(9), other(9)];
        for (at, next, expected) in [
            (0, 5, vec![]),
            (150, 5, vec![]),
            (200, 5, vec![Ask::Want(ORIGIN)]),
            (390, 5, vec![]),
            (400, 5, vec![Ask::Stop(ORIGIN), Ask::Want(OTHER)]),
            (650, 6, vec![]),
            (900, 6, vec![]),
            (950, 6, vec![Ask::Stop(OTHER), Ask::Want(ORIGIN)]),
        ] {
            assert_eq!(pull.step(ms(at), next, true, &candidates), expected, "at {at}");
        }
        assert_eq!(pull.delivered(ms(960), 7, &origin(9)), None);
    }

    #[test]
    fn without_its_origin_a_log_is_finished_from_whoever_has_more() {
        let mut pull = Pull::new(ms(0), 5);
        assert_eq!(pull.step(ms(0), 5, true, &[other(5)]), []);
        assert_eq!(pull.step(ms(0), 5, true, &[other(6)]), [Ask::Want(OTHER)]);
        assert_eq!(pull.delivered(ms(9), 6, &origin(9)), Some(Ask::Stop(OTHER)), "the origin is back");
    }

    #[test]
    fn a_sibling_of_the_relay_waits_and_takes_over_when_there_is_no_progress() {
        let mut pull = Pull::new(ms(0), 5);
        let candidates = [origin(9), other(9), sibling(5)];
        assert_eq!(pull.step(ms(299), 5, false, &candidates), []);
        assert_eq!(pull.step(ms(299), 6, false, &candidates), [], "progress");
        assert_eq!(pull.step(ms(598), 6, false, &candidates), []);
        assert_eq!(pull.step(ms(599), 6, false, &candidates), [Ask::Want(ORIGIN)]);
        assert_eq!(pull.delivered(ms(700), 8, &sibling(8)), Some(Ask::Stop(ORIGIN)));
    }

    #[test]
    fn what_the_sibling_has_is_not_taken_over_the_wan() {
        let mut pull = Pull::new(ms(0), 5);
        assert_eq!(pull.step(ms(250), 5, true, &[other(9), sibling(9)]), []);
        assert_eq!(pull.step(ms(250), 5, true, &[other(9), sibling(5)]), [Ask::Want(OTHER)]);
    }
}
