//! One seed, one paused runtime, one history.

use std::env;
use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, RngSeed};
use tokio::time::Instant;
use trunkline_testkit::{Random, SimulatedNetwork, process};

use crate::heard::{Heard, listen};
use crate::history::History;

/// Simulated time after which a scenario has failed.
const SIMULATED_MAX: Duration = Duration::from_secs(1_200);
const LOOK_FOR_PANICS: Duration = Duration::from_millis(100);
/// Real time after which a scenario hangs: it spins without time passing.
const REAL_MAX: Duration = Duration::from_secs(300);

/// What a scenario has to play with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct World {
    pub seed: u64,
    /// For the scenario's own choices.
    pub random: Random,
    pub network: SimulatedNetwork,
    pub history: History,
    pub heard: Heard,
}

impl World {
    /// Adds a line to the history, with the time.
    pub fn tell(&self, line: impl std::fmt::Display) {
        self.history.tell(self.network.elapsed(), line);
    }
}

/// One run of a scenario under one seed.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    seed: u64,
    quiet: bool,
    tells_all: bool,
}

impl Simulation {
    pub fn new(seed: u64) -> Self {
        Self { seed, quiet: false, tells_all: false }
    }

    /// Says nothing when it fails: failing is what it is for.
    #[must_use]
    pub fn quietly(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// A failure shows the whole history, not only its end.
    #[must_use]
    pub fn telling_all(self) -> Self {
        Self { tells_all: true, ..self }
    }

    /// Runs `scenario` on this thread until it returns, and returns what happened; its last line is a hash of every
    /// message that was delivered.
    ///
    /// # Panics
    /// If the scenario or any task of it does, or takes more than twenty minutes of simulated time.
    pub fn run<F: Future>(self, scenario: impl FnOnce(World) -> F) -> (History, F::Output) {
        let history = History::default();
        process::panicked();
        let _replay = (!self.quiet).then(|| PrintsReplay { of: self, history: history.clone() });
        let _watchdog = Watchdog::start(self.seed);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&self.seed.to_le_bytes()))
            .build()
            .expect("a runtime without I/O needs nothing that could be missing");
        let output = runtime.block_on(async {
            let random = Random::new(self.seed);
            let network = SimulatedNetwork::new(&random);
            let heard = Heard::default();
            let _ears = listen(Instant::now(), &history, &heard);
            let (random, history) = (random.fork("scenario"), history.clone());
            let world = World { seed: self.seed, random, network, history, heard };
            let output = tokio::select! {
                biased;
                output = scenario(world.clone()) => output,
                why = goes_wrong() => panic!("{why}"),
            };
            let panicked = process::panicked();
            assert!(panicked.is_empty(), "{}", panicked.join("; "));
            let (messages, hash) = (world.network.deliveries(), world.network.fingerprint());
            world.tell(format_args!("{messages} messages were delivered, hash {hash:016x}"));
            world.network.end();
            output
        });
        (history, output)
    }

    /// Runs `scenario` under each of the seeds asked for, twice, and compares the histories. `TRUNKLINE_SEED` names
    /// the only seed; `TRUNKLINE_SEEDS` says how many, instead of `count`.
    ///
    /// # Panics
    /// If any run does, or two runs under one seed differ.
    pub fn check<F: Future<Output = ()>>(count: u64, scenario: impl Fn(World) -> F + Sync) {
        let seeds = seeds(count);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(seeds.len());
        let scenario = &scenario;
        std::thread::scope(|scope| {
            for first in 0..threads {
                let mine: Vec<u64> = seeds.iter().copied().skip(first).step_by(threads).collect();
                scope.spawn(move || mine.into_iter().for_each(|seed| same_twice(seed, scenario)));
            }
        });
    }
}

/// Resolves when a task has panicked, or too much time has passed.
async fn goes_wrong() -> String {
    let begun = Instant::now();
    while begun.elapsed() < SIMULATED_MAX {
        tokio::time::sleep(LOOK_FOR_PANICS).await;
        let panicked = process::panicked();
        if !panicked.is_empty() {
            return panicked.join("; ");
        }
    }
    format!("still running after {} s of simulated time", SIMULATED_MAX.as_secs())
}

fn same_twice<F: Future<Output = ()>>(seed: u64, scenario: impl Fn(World) -> F) {
    let (first, ()) = Simulation::new(seed).run(&scenario);
    let (second, ()) = Simulation::new(seed).run(&scenario);
    if let Some((one, other)) = first.first_difference(&second) {
        panic!("seed {seed} has two histories:\n{one}\n{other}");
    }
}

fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("TRUNKLINE_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("TRUNKLINE_SEEDS").unwrap_or(count).max(1)).collect(),
    }
}

/// Says how to see a failure again.
struct PrintsReplay {
    of: Simulation,
    history: History,
}

impl Drop for PrintsReplay {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if self.of.tells_all {
            self.history.each(|line| eprintln!("{line}"));
            return;
        }
        let (seed, test) = (self.of.seed, env::args().next().unwrap_or_default());
        eprintln!("{}", self.history.tail());
        if test.ends_with("/sim") {
            eprintln!("replay: make sim SEED={seed}");
        } else {
            eprintln!("replay: TRUNKLINE_SEED={seed} make test-simulation   ({test})");
        }
    }
}

/// Ends the test run where a scenario spins without time passing, which no timer of its own could notice.
struct Watchdog {
    _done: mpsc::Sender<()>,
}

impl Watchdog {
    #[allow(clippy::disallowed_methods, reason = "it watches real time, from outside of the simulation")]
    fn start(seed: u64) -> Self {
        let (done, watched) = mpsc::channel();
        std::thread::spawn(move || {
            if watched.recv_timeout(REAL_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("seed {seed} hangs: {} s of real time have passed", REAL_MAX.as_secs());
                std::process::abort();
            }
        });
        Self { _done: done }
    }
}
