//! `make sim SEEDS=200`, `make sim SEED=7`: runs seeds over all cores, one thread per seed; or replays one, readably.

use std::io::{IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use trunkline_simulation::report::{Report, line};
use trunkline_simulation::run::{Outcomes, explore};
use trunkline_simulation::{History, Simulation};

/// One seed in so many is run twice, and its histories compared.
const TWICE_EVERY: u64 = 20;

const USAGE: &str = "sim [--seeds N] [--first N] [--threads N] | sim --seed N";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(campaign) = Campaign::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if campaign.run() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Campaign {
    first: u64,
    count: u64,
    threads: usize,
    /// One seed only, with its whole history.
    replay: bool,
    next: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    report: Report,
    done: u64,
    wrong: Vec<u64>,
}

impl Campaign {
    fn parse(arguments: &[String]) -> Option<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (mut first, mut count, mut threads, mut replay) = (1, 50, threads, false);
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return None };
            let value: u64 = value.parse().ok()?;
            match name.as_str() {
                "--seeds" => count = value,
                "--first" => first = value,
                "--threads" => threads = usize::try_from(value).ok()?.max(1),
                "--seed" => (first, count, replay) = (value, 1, true),
                _ => return None,
            }
        }
        let (next, told) = (AtomicU64::new(first), Mutex::default());
        Some(Self { first, count, threads, replay, next, told })
    }

    fn run(&self) -> bool {
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(usize::try_from(self.count).unwrap_or(usize::MAX)) {
                scope.spawn(|| self.work());
            }
        });
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        println(&told.report.text());
        if let Some(cpu) = cpu_seconds() {
            let rate = told.report.simulated().as_secs_f64() / cpu.max(0.01);
            println(&format!("{cpu:.1} s of CPU: {rate:.0} simulated seconds per CPU second"));
        }
        let rare = if self.replay { Vec::new() } else { told.report.too_rare() };
        rare.iter().for_each(|rare| println(&format!("too rare: {rare}")));
        if !told.wrong.is_empty() {
            println(&format!("{} of {} seeds are wrong: {:?}", told.wrong.len(), self.count, told.wrong));
            println(&format!("replay: make sim SEED={}", told.wrong[0]));
        }
        told.wrong.is_empty() && rare.is_empty()
    }

    fn work(&self) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.first + self.count {
                return;
            }
            let ran = catch_unwind(AssertUnwindSafe(|| self.one(seed)));
            let (history, mut outcomes) = ran.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
                let wrong = vec![text.to_owned()];
                (History::default(), Outcomes { wrong, ..Outcomes::default() })
            });
            outcomes.wrong.truncate(12);
            self.tell(seed, &history, &outcomes);
        }
    }

    fn one(&self, seed: u64) -> (History, Outcomes) {
        if self.replay {
            return Simulation::new(seed).telling_all().run(explore);
        }
        let (history, mut outcomes) = Simulation::new(seed).run(explore);
        if self.is_run_twice(seed) {
            let (again, _) = Simulation::new(seed).run(explore);
            if let Some((one, other)) = history.first_difference(&again) {
                outcomes.wrong.push(format!("it has two histories:\n    {one}\n    {other}"));
            }
        }
        (history, outcomes)
    }

    fn is_run_twice(&self, seed: u64) -> bool {
        !self.replay && seed.is_multiple_of(TWICE_EVERY)
    }

    fn tell(&self, seed: u64, history: &History, outcomes: &Outcomes) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.done += 1;
        let runs = if self.is_run_twice(seed) { 2 } else { 1 };
        told.report.add(seed, outcomes, runs);
        if self.replay {
            history.each(println);
            println(&outcomes.plan);
        }
        clear_bar();
        println(&line(seed, outcomes, history.hash()));
        if !outcomes.wrong.is_empty() {
            told.wrong.push(seed);
            println(&format!("    {}", outcomes.plan));
            outcomes.wrong.iter().for_each(|wrong| println(&format!("    WRONG  {wrong}")));
        }
        self.bar(told.done, told.wrong.len());
    }

    fn bar(&self, done: u64, wrong: usize) {
        if std::io::stderr().is_terminal() {
            const WIDTH: u64 = 40;
            let filled = "#".repeat(usize::try_from(done * WIDTH / self.count).unwrap_or(0));
            eprint!("[{filled:<40}] {done}/{} seeds, {wrong} wrong", self.count);
        }
    }
}

/// What this process has used so far, where the system says it.
fn cpu_seconds() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, a name in parentheses, may have spaces.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn clear_bar() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// Not `println!`: a closed pipe is no reason to panic.
fn println(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
