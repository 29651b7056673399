//! The figures as Markdown, and their place in the README.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::bars::Row;
use super::case::Outcome;
use super::cases::CASES;

const BEGIN: &str = "<!-- `make bench` writes from here … -->\n";
const END: &str = "<!-- … to here -->\n";

/// A caption with machine, date and commit, and one line per figure.
pub(super) fn table(outcomes: &BTreeMap<String, Outcome>, rows: &[Row]) -> String {
    let mut text = caption(outcomes);
    text.push_str("| what | figure | measured | bar | |\n|---|---|---|---|---|\n");
    let mut last = "";
    for row in rows {
        let case = CASES.iter().find(|case| case.name == row.case);
        let what = case.filter(|_| last != row.case).map_or_else(String::new, |case| case.what.to_owned());
        last = row.case;
        let error = outcomes.get(row.case).and_then(|outcome| outcome.error.as_deref());
        let measured =
            row.value.map_or_else(|| "–".to_owned(), |value| format!("{} {}", number(value), row.unit));
        let verdict = match (row.missed_by, row.value, error) {
            (_, None, Some(_)) | (None, Some(_), Some(_)) => "**the run failed**".to_owned(),
            (_, None, None) => "**not measured**".to_owned(),
            (Some(by), ..) => format!("**missed by {}**", number(by)),
            (None, ..) if row.bar.is_empty() => String::new(),
            (None, ..) => "met".to_owned(),
        };
        let cells = [what.as_str(), row.figure, measured.trim_end(), row.bar.as_str(), &verdict];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn caption(outcomes: &BTreeMap<String, Outcome>) -> String {
    let all = |of: fn(&Outcome) -> String| -> String {
        let each: BTreeSet<String> = outcomes.values().map(of).collect();
        each.into_iter().collect::<Vec<_>>().join(", ")
    };
    let disk: Vec<f64> = outcomes
        .values()
        .filter_map(|outcome| outcome.values.get("disk_append_fsync_p50_ms").copied())
        .collect();
    let (least, most) = disk.iter().fold((f64::MAX, 0.0_f64), |(a, b), &f| (a.min(f), b.max(f)));
    let f = if disk.is_empty() { String::new() } else { format!("; f = {least:.2}–{most:.2} ms") };
    let sum = |name: &str| {
        let said = outcomes.values().filter_map(|outcome| outcome.values.get(name));
        // Not `sum`: of nothing, that is minus zero.
        said.fold(0.0, |sum, value| sum + value)
    };
    let (lost, twice) = (sum("lost"), sum("duplicated"));
    let days = all(|outcome| outcome.date.split('T').next().unwrap_or_default().to_owned());
    let commits = all(|outcome| outcome.commit.chars().take(12).collect());
    format!(
        "{days}, commit {commits}, {} cores for cluster and load together{f}; lost {lost}, duplicated {twice}.\n\n",
        all(|outcome| outcome.cores.to_string())
    )
}

/// As many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `text` with what stands between the markers replaced; `None` where it has none.
pub(super) fn put(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::bars::rows;
    use super::*;

    #[test]
    fn a_table_says_what_was_met_and_by_how_much_it_was_missed() {
        let outcome = |values: &[(&str, f64)], error: Option<&str>| Outcome {
            date: "2026-11-21T10:00:00Z".to_owned(),
            commit: "0123456789abcdef".to_owned(),
            cores: 2,
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            error: error.map(str::to_owned),
            ..Outcome::default()
        };
        let outcomes = [
            ("idle".to_owned(), outcome(&[("cpu_percent", 12.5), ("resident_mb", 400.0)], None)),
            (
                "start".to_owned(),
                outcome(&[("disk_append_fsync_p50_ms", 0.25), ("duplicated", 3.0)], Some("not ready")),
            ),
        ];
        let outcomes = BTreeMap::from(outcomes);
        assert_eq!(
            table(&outcomes, &rows(&outcomes)),
            "2026-11-21, commit 0123456789ab, 2 cores for cluster and load together; f = 0.25–0.25 ms; lost 0, duplicated 3.\n\n\
             | what | figure | measured | bar | |\n|---|---|---|---|---|\n\
             | nothing is pushed | CPU, of one core | 12.5 % | ≤ 10 | **missed by 2.50** |\n\
             |  | memory | 400 MB | ≤ 600 | met |\n\
             | start with 2 GB in each store | payload in each store | – | ≥ 2 | **the run failed** |\n\
             |  | ready after a stop | – | ≤ 10 | **the run failed** |\n\
             |  | ready after kill -9 | – | ≤ 10 | **the run failed** |\n"
        );
    }

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let text = format!("above\n{BEGIN}old\n{END}below\n");
        let new = put(&text, "new\n").expect("it has markers");
        assert_eq!(new, format!("above\n{BEGIN}new\n{END}below\n"));
        assert_eq!(put(&new, "old\n").as_deref(), Some(text.as_str()));
        assert_eq!(put("no markers", "new"), None);
        let readme = include_str!("../../../../../README.md");
        assert!(put(readme, "").is_some(), "README.md has its markers");
    }
}
