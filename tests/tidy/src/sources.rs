//! Rust files: their length, their names, and what tests may not do.

use std::collections::BTreeSet;

use crate::Complaint;
use crate::tree::File;

pub const LINES_MAX: usize = 500;
/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 10] =
    ["utils", "util", "common", "helpers", "helper", "manager", "managers", "misc", "core", "mod"];
/// Put together here, so that this file does not find itself.
const IGNORED: &str = concat!("#[", "ignore");
const SLEEP: &str = concat!("sleep", "(");
/// Where time is paused, sleeping is how it passes.
const PAUSED: [&str; 2] = ["start_paused", "tokio::time::pause("];
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

pub fn check(file: &File) -> Vec<Complaint> {
    let checks = [name, length, ignored, unfinished];
    checks.iter().flat_map(|check| check(file)).collect()
}

fn name(file: &File) -> Vec<Complaint> {
    let folders = file.path.trim_end_matches(".rs").split('/');
    let banned = folders.filter(|part| BANNED_NAMES.contains(part));
    banned.map(|part| format!("{}: {part:?} does not say what is inside", file.path)).collect()
}

/// Tests may be long: they are tables.
fn length(file: &File) -> Vec<Complaint> {
    let lines = file.text.lines().count();
    let is_long = lines > LINES_MAX && !is_test(&file.path);
    let complaint = || format!("{}: {lines} lines, more than {LINES_MAX}: give its parts names", file.path);
    is_long.then(complaint).into_iter().collect()
}

fn ignored(file: &File) -> Vec<Complaint> {
    in_lines(file, code(&file.text), &[IGNORED], "a test that is not run proves nothing")
}

/// Tests that run in real time. Packages whose tests pause time, and the simulator, are left out.
pub fn sleeps(files: &[File]) -> Vec<Complaint> {
    let reason = "a test waits for a value (watch it, or ask again at each tick of a tokio::time::interval)";
    let paused: BTreeSet<&str> = files
        .iter()
        .filter(|file| PAUSED.iter().any(|word| file.text.contains(word)))
        .map(|file| package(&file.path))
        .collect();
    let real_time = files.iter().filter(|file| {
        let package = package(&file.path);
        !paused.contains(package) && package != "tests/simulation"
    });
    let complaints = real_time.flat_map(|file| {
        let begins = if is_test(&file.path) { 0 } else { tests_begin(&file.text) };
        in_lines(file, code(&file.text).filter(move |(line, _)| *line >= begins), &[SLEEP], reason)
    });
    complaints.collect()
}

/// `crates/storage` of `crates/storage/src/lib.rs`.
fn package(path: &str) -> &str {
    path.match_indices('/').nth(1).map_or(path, |(at, _)| &path[..at])
}

fn unfinished(file: &File) -> Vec<Complaint> {
    in_lines(file, file.text.lines().enumerate(), &UNFINISHED, "finish it, or file an issue")
}

/// Whether all of a file is tests.
pub fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs") && !path.starts_with("tests/tidy/src/")
}

/// Where the tests within a file begin; its end where there are none.
fn tests_begin(text: &str) -> usize {
    let mut lines = text.lines();
    lines.position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX)
}

/// Lines that are not comments, with their places from 0.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn in_lines<'a>(
    file: &File,
    lines: impl Iterator<Item = (usize, &'a str)>,
    words: &[&str],
    reason: &str,
) -> Vec<Complaint> {
    let found = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
    found.map(|(line, text)| format!("{}:{}: {}: {reason}", file.path, line + 1, text.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        check(&File { path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        for path in [
            "crates/a/src/utils.rs",
            "crates/a/src/b/mod.rs",
            "crates/common/src/lib.rs",
            "tests/x/helpers.rs",
        ] {
            assert_eq!(complaints(path, ""), 1, "{path}");
        }
        assert_eq!(complaints("crates/a/src/commonplace.rs", ""), 0);
    }

    #[test]
    fn a_file_of_more_than_the_limit_is_found_outside_of_tests() {
        let (longest, longer) = ("\n".repeat(LINES_MAX), "\n".repeat(LINES_MAX + 1));
        assert_eq!(complaints("crates/a/src/b.rs", &longest), 0);
        assert_eq!(complaints("crates/a/src/b.rs", &longer), 1);
        assert_eq!(complaints("crates/a/src/b/tests.rs", &longer), 0);
        assert_eq!(complaints("tests/integration/tests/b.rs", &longer), 0);
    }

    #[test]
    fn a_test_that_is_not_run_is_found() {
        let text = format!("#[test]\n{IGNORED}]\nfn a() {{}}");
        assert_eq!(complaints("crates/a/src/b.rs", &text), 1);
    }

    #[test]
    fn a_sleep_is_found_in_tests_that_run_in_real_time() {
        let waits = format!("fn wait() {{ {SLEEP}); }}\n");
        let tests = format!("#[cfg(test)]\nmod tests {{\n fn wait() {{ {SLEEP}); }}\n}}");
        let comment = format!("#[cfg(test)]\n // never {SLEEP})\n");
        let paused = format!("{tests}\n#[tokio::test(start_paused = true)]");
        for (path, text, expected) in [
            ("crates/a/src/b.rs", &waits, 0),
            ("crates/a/src/b.rs", &tests, 1),
            ("crates/a/src/b.rs", &comment, 0),
            ("crates/a/src/b.rs", &paused, 0),
            ("crates/a/src/tests.rs", &waits, 1),
            ("tests/integration/tests/b.rs", &waits, 1),
            ("tests/simulation/tests/b.rs", &waits, 0),
        ] {
            let file = File { path: path.into(), text: text.clone() };
            assert_eq!(sleeps(&[file]).len(), expected, "{path}: {text}");
        }
        let beside = File { path: "crates/a/tests/c.rs".into(), text: paused.clone() };
        let waiting = File { path: "crates/a/tests/b.rs".into(), text: waits.clone() };
        assert!(sleeps(&[beside.clone(), waiting.clone()]).is_empty());
        assert_eq!(sleeps(&[File { path: "crates/b/tests/c.rs".into(), ..beside }, waiting]).len(), 1);
    }

    #[test]
    fn what_is_not_finished_is_found() {
        for word in UNFINISHED {
            assert!(complaints("crates/a/src/b.rs", &format!("// {word}: later")) >= 1, "{word}");
        }
    }
}
