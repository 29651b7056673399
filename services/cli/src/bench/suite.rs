//! `trunkline bench suite`: the runs behind the README's table, each on a fresh `trunkline dev`.
//!
//! - `cases`: the fixed list. `bars`: what each figure must be, and by how much it is not (pure).
//! - `cluster`: a `trunkline dev` of its own. `case`: one case from its start to its outcome; `replay`: that of old
//!   messages beside fresh ones.
//! - `table`: the figures as Markdown, and their place in the README (pure).
//!
//! Outcomes are kept in a file, case by case: running some again leaves the others as they were.

mod bars;
mod case;
mod cases;
mod cluster;
mod replay;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::bars::Row;
use self::case::Outcome;
use self::cases::CASES;
use self::cluster::Site;
use crate::args::duration;
use crate::context::Context;
use crate::failure::Failure;

pub(super) const EXAMPLES: &str = "Examples:
  trunkline bench suite --cases idle,start --duration 5s       # a trial of two cases
  trunkline bench suite --figures figures.json --readme README.md";

/// What `trunkline bench suite` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Only these: local-real, local-150ms, … [default: all]
    #[arg(long, value_name = "CASE,…", value_delimiter = ',')]
    cases: Vec<String>,
    /// A trial: every case for so long instead of its own time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Where the clusters keep their data: in a folder `bench-cluster`, which is removed
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// The clusters listen from here
    #[arg(long, value_name = "PORT", default_value_t = 17_100)]
    base_port: u16,
    /// Keep outcomes in this file, with those that it has of other cases
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
    /// Rewrite the table in this file, between its markers
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

/// What is kept: outcomes by case, and the rows that follow from them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// For whoever reads the file: made from `cases` each time.
    #[serde(default, skip_deserializing)]
    figures: Vec<Row>,
    cases: BTreeMap<String, Outcome>,
}

impl Kept {
    fn read(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file.filter(|file| file.exists()) else { return Ok(Self::default()) };
        let text = fs::read_to_string(file).map_err(|error| failed(file, &error))?;
        serde_json::from_str(&text).map_err(|error| failed(file, &error))
    }

    fn write(&self, file: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| failed(file, &error))?;
        text.push('\n');
        fs::write(file, text).map_err(|error| failed(file, &error))
    }
}

fn failed(file: &Path, error: &impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {error}", file.display()))
}

pub(super) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if let Some(unknown) = args.cases.iter().find(|name| CASES.iter().all(|case| case.name != **name)) {
        let known: Vec<_> = CASES.iter().map(|case| case.name).collect();
        return Err(Failure::Usage(format!("{unknown:?} is not a case; there are {}", known.join(", "))));
    }
    let mut kept = Kept::read(args.figures.as_deref())?;
    let site = Site::new(args.base_port, &args.data)?;
    let mut interrupted = (context.interrupted)();
    let mut broken = Vec::new();
    let wanted =
        CASES.iter().filter(|case| args.cases.is_empty() || args.cases.iter().any(|name| name == case.name));
    for case in wanted {
        context.note(&format!("{}: {}", case.name, case.what));
        let outcome = match case::run(case, &site, args.duration, context, &mut interrupted).await {
            Ok(outcome) => outcome,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => Outcome::failed(case, context, &failure),
        };
        if let Some(error) = &outcome.error {
            context.note(&format!("{}: {error}", case.name));
            broken.push(case.name);
        }
        kept.cases.insert(case.name.to_owned(), outcome);
        kept.figures = bars::rows(&kept.cases);
        // After each case: an interrupted suite has not been in vain.
        if let Some(file) = &args.figures {
            kept.write(file)?;
        }
        if let Some(file) = &args.readme {
            rewrite(file, &table::table(&kept.cases, &kept.figures))?;
        }
    }
    write!(context.stdout, "{}", table::table(&kept.cases, &kept.figures))?;
    let missed = kept.figures.iter().filter(|row| row.missed_by.is_some()).count();
    context.note(&format!("{missed} of {} figures miss their bars", kept.figures.len()));
    if broken.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("failed: {}", broken.join(", ")))) }
}

fn rewrite(readme: &Path, table: &str) -> Result<(), Failure> {
    let text = fs::read_to_string(readme).map_err(|error| failed(readme, &error))?;
    let rewritten =
        table::put(&text, table).ok_or_else(|| failed(readme, &"it has no markers for the table"))?;
    fs::write(readme, rewritten).map_err(|error| failed(readme, &error))
}

/// Removes what is there.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_its_figures_follow() {
        let file = std::env::temp_dir().join(format!("trunkline-kept-{}", std::process::id()));
        let outcome = Outcome { values: [("push_p50_ms".to_owned(), 2.0)].into(), ..Outcome::default() };
        let mut kept = Kept { cases: [("local-real".to_owned(), outcome)].into(), ..Kept::default() };
        kept.figures = bars::rows(&kept.cases);
        kept.write(&file).expect("written");
        let again = Kept::read(Some(&file)).expect("read");
        assert_eq!(again.cases, kept.cases);
        assert!(again.figures.is_empty(), "they are made from the cases");
        fs::remove_file(&file).expect("removed");
        assert!(Kept::read(Some(&file)).expect("nothing is kept yet").cases.is_empty());
    }
}
