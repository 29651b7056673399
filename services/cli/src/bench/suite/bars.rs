//! What each figure must be.

use std::collections::BTreeMap;

use serde::Serialize;

use self::Bar::{AtLeast, AtMost, Within};
use super::case::Outcome;
use crate::output::round;

/// Bounds that a figure keeps, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bar {
    AtMost(f64),
    AtLeast(f64),
    Within(f64, f64),
    /// Told for orientation.
    None,
}

impl Bar {
    /// By how much `value` misses it.
    fn missed_by(self, value: f64) -> Option<f64> {
        let by = match self {
            Self::AtMost(most) => value - most,
            Self::AtLeast(least) => least - value,
            Self::Within(least, most) => (least - value).max(value - most),
            Self::None => return None,
        };
        // What is not a number meets no bar.
        (by > 0.0 || by.is_nan()).then(|| round(by))
    }

    fn says(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::Within(least, most) => format!("{least}–{most}"),
            Self::None => String::new(),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) case: &'static str,
    pub(super) figure: &'static str,
    pub(super) unit: &'static str,
    /// Absent where the case failed or did not say.
    pub(super) value: Option<f64>,
    /// Empty where there is none.
    pub(super) bar: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missed_by: Option<f64>,
}

type Outcomes = BTreeMap<String, Outcome>;

/// Where a figure comes from.
enum Source {
    /// A value of the case itself.
    Own(&'static str),
    /// Its distance from the same value of another case.
    From(&'static str, &'static str),
    /// Its ratio to the same value of another case.
    Of(&'static str, &'static str),
}

impl Source {
    fn value(&self, outcomes: &Outcomes, case: &str) -> Option<f64> {
        let of = |case: &str, name: &str| outcomes.get(case)?.values.get(name).copied();
        match self {
            Self::Own(name) => of(case, name),
            Self::From(other, name) => Some((of(case, name)? - of(other, name)?).abs()),
            Self::Of(other, name) => Some(of(case, name)? / of(other, name)?),
        }
    }

    /// The case that it is compared with.
    fn other(&self) -> Option<&'static str> {
        match self {
            Self::Own(_) => None,
            Self::From(other, _) | Self::Of(other, _) => Some(other),
        }
    }
}

struct Figure {
    case: &'static str,
    name: &'static str,
    unit: &'static str,
    source: Source,
    bar: Bar,
}

const fn own(
    case: &'static str,
    name: &'static str,
    unit: &'static str,
    value: &'static str,
    bar: Bar,
) -> Figure {
    Figure { case, name, unit, source: Source::Own(value), bar }
}

const FIGURES: &[Figure] = &[
    own("local-real", "push p50", "ms", "push_p50_ms", AtMost(3.0)),
    own("local-real", "push p50, in units of f", "f", "push_p50_f", Bar::None),
    own("local-real", "push p99", "ms", "push_p99_ms", AtMost(15.0)),
    own("local-real", "push p99, in units of f", "f", "push_p99_f", Bar::None),
    own("local-real", "visible p99, slowest pair", "ms", "visible_p99_ms", AtMost(160.0)),
    own("local-real", "pop p99", "ms", "pop_p99_ms", AtMost(10.0)),
    own("local-real", "WAN bytes / payload byte", "", "wan_per_payload", AtMost(2.1)),
    own("local-real", "CPU / message", "µs", "cpu_us_per_message", Bar::None),
    own("local-150ms", "push p50", "ms", "push_p50_ms", AtMost(3.0)),
    own("local-150ms", "push p99", "ms", "push_p99_ms", AtMost(15.0)),
    Figure {
        case: "local-150ms",
        name: "push p50, distance from that without WAN",
        unit: "ms",
        source: Source::From("local-none", "push_p50_ms"),
        bar: AtMost(1.0),
    },
    own("local-150ms", "visible p50, fastest pair", "ms", "visible_p50_min_ms", AtLeast(220.0)),
    own("local-150ms", "visible p99, slowest pair", "ms", "visible_p99_ms", AtMost(420.0)),
    own("local-150ms", "pop p99", "ms", "pop_p99_ms", AtMost(10.0)),
    own("local-none", "push p50", "ms", "push_p50_ms", AtMost(3.0)),
    own("local-none", "push p99", "ms", "push_p99_ms", AtMost(15.0)),
    own("ordered-150ms", "push p50", "ms", "push_p50_ms", Within(295.0, 380.0)),
    own("ordered-150ms", "push p99", "ms", "push_p99_ms", AtMost(420.0)),
    own("unthrottled", "on disk on all six replicas", "/s", "replicated_rate", AtLeast(4_000.0)),
    own("unthrottled", "the raw disk, appends with fsync", "MB/s", "disk_mb_per_s", Bar::None),
    own("unthrottled", "of the raw disk's bytes/s, six times", "%", "disk_share_percent", Bar::None),
    own("unthrottled", "CPU / message", "µs", "cpu_us_per_message", Bar::None),
    own("relay", "WAN bytes / payload byte", "", "wan_per_payload", AtMost(2.1)),
    own("raft-one-topic", "Raft bytes / message", "", "raft_per_message", AtMost(4.0)),
    own("raft-5000-topics", "Raft bytes / message", "", "raft_per_message", AtMost(16.0)),
    own("raft-1mib", "Raft bytes / message", "", "raft_per_message", Bar::None),
    Figure {
        case: "raft-1mib",
        name: "Raft bytes / message, of those with 1 kB",
        unit: "×",
        source: Source::Of("raft-1kb", "raft_per_message"),
        bar: AtMost(1.1),
    },
    own("idle", "CPU, of one core", "%", "cpu_percent", AtMost(10.0)),
    own("idle", "memory", "MB", "resident_mb", AtMost(600.0)),
    own("start", "payload in each store", "GB", "filled_gb", AtLeast(2.0)),
    own("start", "ready after a stop", "s", "ready_s", AtMost(10.0)),
    own("start", "ready after kill -9", "s", "ready_after_kill_s", AtMost(10.0)),
    own("replay", "visible p99 beside replays, of that without", "×", "visible_p99_slowdown", AtMost(1.5)),
    own("replay", "pop p99 beside replays, of that without", "×", "pop_p99_slowdown", AtMost(1.5)),
    own("replay", "replayed meanwhile", "MB/s", "replayed_mb_per_s", Bar::None),
];

/// The figures of all cases that were run, in the order of the list. One that lacks its other case is left out.
pub(super) fn rows(outcomes: &Outcomes) -> Vec<Row> {
    let was_run = |figure: &&Figure| {
        let cases = [Some(figure.case), figure.source.other()];
        cases.into_iter().flatten().all(|case| outcomes.contains_key(case))
    };
    let row = |figure: &Figure| {
        let value = figure.source.value(outcomes, figure.case).map(round);
        Row {
            case: figure.case,
            figure: figure.name,
            unit: figure.unit,
            value,
            bar: figure.bar.says(),
            missed_by: value.and_then(|value| figure.bar.missed_by(value)),
        }
    };
    FIGURES.iter().filter(was_run).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::cases::CASES;
    use super::*;

    fn outcomes(cases: &[(&str, &[(&str, f64)])]) -> Outcomes {
        let outcome = |values: &[(&str, f64)]| Outcome {
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            ..Outcome::default()
        };
        cases.iter().map(|(case, values)| ((*case).to_owned(), outcome(values))).collect()
    }

    #[test]
    fn a_bar_says_by_how_much_it_was_missed() {
        for (bar, value, missed_by) in [
            (AtMost(3.0), 3.0, None),
            (AtMost(3.0), 3.5, Some(0.5)),
            (AtLeast(4_000.0), 4_000.0, None),
            (AtLeast(4_000.0), 3_900.0, Some(100.0)),
            (Within(295.0, 380.0), 300.0, None),
            (Within(295.0, 380.0), 290.0, Some(5.0)),
            (Within(295.0, 380.0), 390.0, Some(10.0)),
            (Bar::None, 1e9, None),
        ] {
            assert_eq!(bar.missed_by(value), missed_by, "{bar:?} of {value}");
        }
        assert!(AtMost(3.0).missed_by(f64::NAN).is_some());
    }

    #[test]
    fn cases_are_compared_where_both_were_run() {
        let figure = "push p50, distance from that without WAN";
        let find = |rows: &[Row]| rows.iter().find(|row| row.figure == figure).cloned();
        let far = ("local-150ms", &[("push_p50_ms", 4.0)][..]);
        assert_eq!(find(&rows(&outcomes(&[far]))), None);
        let row = find(&rows(&outcomes(&[far, ("local-none", &[("push_p50_ms", 5.5)])]))).expect("both");
        assert_eq!((row.value, row.missed_by), (Some(1.5), Some(0.5)));
        let ratio = rows(&outcomes(&[
            ("raft-1mib", &[("raft_per_message", 12.0)]),
            ("raft-1kb", &[("raft_per_message", 10.0)]),
        ]));
        assert_eq!((ratio.len(), ratio[1].value, ratio[1].missed_by), (2, Some(1.2), Some(0.1)));
    }

    #[test]
    fn what_a_failed_case_does_not_say_stays_open() {
        let rows = rows(&outcomes(&[("idle", &[("cpu_percent", 12.0)])]));
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].value, rows[0].missed_by), (Some(12.0), Some(2.0)));
        assert_eq!((rows[1].value, rows[1].missed_by), (None, None));
    }

    #[test]
    fn every_figure_is_of_a_case_and_every_case_has_one() {
        for figure in FIGURES {
            let cases = [Some(figure.case), figure.source.other()];
            for name in cases.into_iter().flatten() {
                assert!(CASES.iter().any(|case| case.name == name), "{name}");
            }
        }
        for case in CASES {
            let told = |figure: &Figure| figure.case == case.name || figure.source.other() == Some(case.name);
            assert!(FIGURES.iter().any(told), "{}", case.name);
        }
    }
}
