//! `make mutants`: runs deliberately broken builds under one seed after another until a check catches them, and writes
//! the table *mutant × check that caught it × seeds needed*. A seed counts only if the sound build passes it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use trunkline_simulation::Simulation;
use trunkline_simulation::run::{explore, explore_with};
use trunkline_testkit::{BrokenBuild, Mutant};
use trunkline_types::invariants;

/// Each must be caught within so many seeds.
const SEEDS_MAX: u64 = 200;
/// What the first finding says, of all that it says.
const SAYS_CHARACTERS: usize = 160;

const USAGE: &str =
    "mutants [--seeds N] [--threads N] [--table FILE] [--only WORDS] | mutants --only WORDS --seed N";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(campaign) = Campaign::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if let Some(seed) = campaign.replay {
        campaign.mutants.iter().for_each(|mutant| replay(*mutant, seed));
        return ExitCode::SUCCESS;
    }
    // What a broken build breaks is a finding, not news.
    std::panic::set_hook(Box::new(|_| {}));
    let caught = campaign.run();
    let table = table(&caught);
    say(&table);
    if let Some(file) = &campaign.table
        && let Err(error) = std::fs::write(file, &table)
    {
        eprintln!("{file}: {error}");
        return ExitCode::FAILURE;
    }
    if caught.iter().all(|(_, caught)| caught.is_some()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Which seed caught a mutant, and what it said.
struct Caught {
    seed: u64,
    wrong: Vec<String>,
}

struct Campaign {
    mutants: Vec<Mutant>,
    seeds: u64,
    threads: usize,
    table: Option<String>,
    /// One seed only, with its whole history.
    replay: Option<u64>,
    next: AtomicUsize,
}

impl Campaign {
    fn parse(arguments: &[String]) -> Option<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut campaign = Self {
            mutants: Mutant::ALL.to_vec(),
            seeds: SEEDS_MAX,
            threads,
            table: None,
            replay: None,
            next: AtomicUsize::new(0),
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return None };
            match name.as_str() {
                "--seeds" => campaign.seeds = value.parse().ok()?,
                "--seed" => campaign.replay = Some(value.parse().ok()?),
                "--threads" => campaign.threads = value.parse().ok()?,
                "--table" => campaign.table = Some(value.clone()),
                "--only" => campaign.mutants.retain(|mutant| mutant.name().contains(value.as_str())),
                _ => return None,
            }
        }
        Some(campaign)
    }

    fn run(&self) -> Vec<(Mutant, Option<Caught>)> {
        let caught = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while let Some(&mutant) = self.mutants.get(self.next.fetch_add(1, Ordering::Relaxed)) {
                        let found = self.hunt(mutant);
                        say(&row(mutant, found.as_ref()));
                        caught.lock().unwrap_or_else(PoisonError::into_inner).push((mutant, found));
                    }
                });
            }
        });
        let mut caught = caught.into_inner().unwrap_or_else(PoisonError::into_inner);
        caught.sort_by_key(|(mutant, _)| *mutant);
        caught
    }

    fn hunt(&self, mutant: Mutant) -> Option<Caught> {
        (1..=self.seeds).find_map(|seed| {
            let (wrong, else_wrong): (Vec<String>, Vec<String>) =
                wrong(seed, Some(mutant)).into_iter().partition(|wrong| is_of_a_check(wrong));
            if let Some(first) = else_wrong.first() {
                eprintln!("{mutant}, seed {seed}, and {} more: {first}", else_wrong.len() - 1);
            }
            let is_caught = !wrong.is_empty() && self::wrong(seed, None).is_empty();
            is_caught.then_some(Caught { seed, wrong })
        })
    }
}

/// Tells a run from begin to end.
fn replay(mutant: Mutant, seed: u64) {
    let broken = Arc::new(BrokenBuild::new(mutant));
    let (history, outcomes) = Simulation::new(seed).telling_all().run(|world| explore_with(world, broken));
    history.each(say);
    say(&outcomes.plan);
    outcomes.wrong.iter().for_each(|wrong| say(&format!("WRONG  {wrong}")));
}

/// Whether an invariant's check says it. A panic or an error in a log is worth a look, and no proof of a check.
fn is_of_a_check(wrong: &str) -> bool {
    invariants::ALL.iter().any(|invariant| wrong.starts_with(&format!("{} ", invariant.id)))
}

/// What is wrong after a run.
fn wrong(seed: u64, mutant: Option<Mutant>) -> Vec<String> {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let simulation = Simulation::new(seed).quietly();
        match mutant {
            None => simulation.run(explore).1,
            Some(mutant) => simulation.run(|world| explore_with(world, Arc::new(BrokenBuild::new(mutant)))).1,
        }
    }));
    ran.map(|outcomes| outcomes.wrong).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
        vec![format!("panic: {text}")]
    })
}

/// The checks that findings name, each once.
fn checks(wrong: &[String]) -> String {
    let mut checks: Vec<&str> =
        wrong.iter().map(|wrong| wrong.split(' ').next().unwrap_or_default()).collect();
    checks.sort_unstable();
    checks.dedup();
    checks.join(", ")
}

fn row(mutant: Mutant, caught: Option<&Caught>) -> String {
    match caught {
        None => format!("| {mutant} | **not caught** | – | |"),
        Some(Caught { seed, wrong }) => {
            let says: String = wrong[0].replace('|', "/").chars().take(SAYS_CHARACTERS).collect();
            format!("| {mutant} | {} | {seed} | {} |", checks(wrong), says.lines().next().unwrap_or_default())
        }
    }
}

fn table(caught: &[(Mutant, Option<Caught>)]) -> String {
    let mut table = String::from(
        "# Deliberately broken builds, and what caught them\n\n\
         Written by `make mutants`. Each row is a shortcut that looks right (`crates/testkit/src/mutants.rs`), the checks\n\
         that caught it, and how many seeds that took; the sound build passes those seeds.\n\n\
         | mutant | caught by | seeds needed | first finding |\n|---|---|---|---|\n",
    );
    for (mutant, caught) in caught {
        let _ = writeln!(table, "{}", row(*mutant, caught.as_ref()));
    }
    table
}

/// Not `println!`: a closed pipe is no reason to panic.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
