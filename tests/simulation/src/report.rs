//! What a campaign says: a line per seed, and at the end a table with what must have happened often enough.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::faults::Kind;
use crate::rare::State;
use crate::run::Outcomes;

/// From so many seeds on, each fault and each rare state must have come often enough.
const SEEDS_MIN: usize = 200;
const FAULT_TIMES_MIN: u64 = 20;
const RARE_TIMES_MIN: u64 = 5;
const ACKED_MIN: usize = 500;
const WITH_FAULTS_MIN: Duration = Duration::from_secs(60);

/// All seeds of a campaign that came to their end.
#[derive(Clone, Debug, Default)]
pub struct Report {
    seeds: usize,
    simulated: Duration,
    acked: usize,
    unknown: usize,
    failed: usize,
    faults: BTreeMap<Kind, u64>,
    /// In how many seeds.
    rare: BTreeMap<State, u64>,
    settled_in: Duration,
    /// Seeds that were too short or acknowledged too little.
    small: Vec<u64>,
}

/// One line: simulated seconds, pushes, faults by kind, rare states, and what is wrong.
pub fn line(seed: u64, outcomes: &Outcomes, hash: u64) -> String {
    let mut line = format!(
        "seed {seed:>5}: {:>3} s, {:>5} acked, {:>4} unknown, {:>4} failed, settled in {:>4.1} s, hash {hash:016x}",
        outcomes.simulated.as_secs(),
        outcomes.acked,
        outcomes.unknown,
        outcomes.failed,
        outcomes.settled_in.as_secs_f64(),
    );
    let faults = outcomes.faults.iter().map(|(kind, times)| format!("{times} {kind}"));
    let _ = write!(line, "; {}", faults.collect::<Vec<_>>().join(", "));
    if !outcomes.rare.is_empty() {
        let rare = outcomes.rare.iter().map(|(state, times)| format!("{times} × {state}"));
        let _ = write!(line, "; {}", rare.collect::<Vec<_>>().join(", "));
    }
    line
}

impl Report {
    /// `runs`: how often the seed was run.
    pub fn add(&mut self, seed: u64, outcomes: &Outcomes, runs: u32) {
        self.seeds += 1;
        self.simulated += outcomes.simulated * runs;
        self.acked += outcomes.acked;
        self.unknown += outcomes.unknown;
        self.failed += outcomes.failed;
        self.settled_in = self.settled_in.max(outcomes.settled_in);
        for (kind, times) in &outcomes.faults {
            *self.faults.entry(*kind).or_default() += times;
        }
        for state in outcomes.rare.keys() {
            *self.rare.entry(*state).or_default() += 1;
        }
        if outcomes.acked < ACKED_MIN || outcomes.with_faults < WITH_FAULTS_MIN {
            self.small.push(seed);
        }
    }

    pub fn simulated(&self) -> Duration {
        self.simulated
    }

    /// The table.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} seeds, {} simulated seconds, {} acked, {} unknown, {} failed; settled in at most {:.1} s\n",
            self.seeds,
            self.simulated.as_secs(),
            self.acked,
            self.unknown,
            self.failed,
            self.settled_in.as_secs_f64(),
        );
        for kind in Kind::ALL {
            let _ = writeln!(text, "  {:<46} {:>6} times", kind.name(), times(&self.faults, kind));
        }
        for state in State::ALL {
            let _ = writeln!(text, "  {:<46} {:>6} seeds", state.name(), times(&self.rare, state));
        }
        text
    }

    /// What was seen too rarely to have been tried, once there are enough seeds to tell.
    pub fn too_rare(&self) -> Vec<String> {
        let mut rare: Vec<String> = self
            .small
            .iter()
            .map(|seed| format!("seed {seed} was too short or acknowledged too little"))
            .collect();
        if self.seeds < SEEDS_MIN {
            return rare;
        }
        for kind in Kind::ALL.into_iter().filter(|kind| times(&self.faults, *kind) < FAULT_TIMES_MIN) {
            rare.push(format!("{kind}: only {} times", times(&self.faults, kind)));
        }
        for state in State::ALL.into_iter().filter(|state| times(&self.rare, *state) < RARE_TIMES_MIN) {
            rare.push(format!("{state}: only in {} seeds", times(&self.rare, state)));
        }
        rare
    }
}

fn times<K: Ord>(counted: &BTreeMap<K, u64>, of: K) -> u64 {
    counted.get(&of).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_too_rarely_is_said_once_there_are_enough_seeds() {
        let enough = Outcomes { acked: ACKED_MIN, with_faults: WITH_FAULTS_MIN, ..Outcomes::default() };
        let mut report = Report::default();
        (1..200).for_each(|seed| report.add(seed, &enough, 1));
        assert_eq!(report.too_rare(), Vec::<String>::new());
        report.add(200, &Outcomes { faults: Kind::ALL.map(|kind| (kind, 20)).into(), ..enough.clone() }, 1);
        assert_eq!(report.too_rare().len(), State::ALL.len());
        report.add(201, &Outcomes { acked: 3, ..enough }, 2);
        assert_eq!(report.too_rare()[0], "seed 201 was too short or acknowledged too little");
    }
}
