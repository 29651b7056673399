//! What happened in a simulation: as lines for people, as one hash to compare runs.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_types::hash64;

/// How many of the last lines a failure shows.
const LINES_SHOWN: usize = 100;

/// Appended to by whoever has something to tell. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    lines: Vec<String>,
    hash: u64,
}

impl History {
    /// One more line, at `at` after the start.
    pub fn tell(&self, at: Duration, line: impl std::fmt::Display) {
        let line = format!("{:>8} ms  {line}", at.as_millis());
        let mut told = self.told();
        told.hash = hash64(format!("{}{line}", told.hash).as_bytes());
        told.lines.push(line);
    }

    /// Equal for equal histories.
    pub fn hash(&self) -> u64 {
        self.told().hash
    }

    pub fn len(&self) -> usize {
        self.told().lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All lines, in order.
    pub fn each(&self, mut read: impl FnMut(&str)) {
        self.told().lines.iter().for_each(|line| read(line));
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        let told = self.told();
        let mut text = String::new();
        for line in &told.lines[told.lines.len().saturating_sub(LINES_SHOWN)..] {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// The lines that contain `text`.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        self.told().lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// The first line at which two histories differ, from both.
    pub fn first_difference(&self, other: &Self) -> Option<(String, String)> {
        let (a, b) = (self.told().lines.clone(), other.told().lines.clone());
        let end = "(the end)".to_owned();
        let longest = a.len().max(b.len());
        (0..longest)
            .map(|index| (a.get(index).unwrap_or(&end).clone(), b.get(index).unwrap_or(&end).clone()))
            .find(|(a, b)| a != b)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
