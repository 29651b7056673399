//! Lines of real text: the changelogs that Debian's packages bring along.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// How many lines a test takes, where `TRUNKLINE_TEST_LINES` does not say.
const LINES_DEFAULT: usize = 200_000;
const LINE_BYTES_MAX: usize = 4_096;

/// A line and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub file: String,
    pub number: usize,
    pub text: String,
}

/// The lines of /usr/share/doc/*/changelog*, file by file, as many as asked for; generated ones where there are none.
pub fn changelogs() -> Vec<Vec<Line>> {
    let wanted =
        env::var("TRUNKLINE_TEST_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(LINES_DEFAULT);
    let mut files = Vec::new();
    let mut total = 0;
    for path in paths() {
        let lines = read(&path, wanted - total);
        total += lines.len();
        if !lines.is_empty() {
            files.push(lines);
        }
        if total >= wanted {
            return files;
        }
    }
    files.extend(generated(wanted - total));
    files
}

fn paths() -> Vec<PathBuf> {
    let folders = fs::read_dir("/usr/share/doc").into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let mut paths: Vec<PathBuf> = files
        .filter(|file| file.file_name().to_string_lossy().starts_with("changelog"))
        .filter(|file| file.path().is_file())
        .map(|file| file.path())
        .collect();
    paths.sort();
    paths
}

fn read(path: &PathBuf, at_most: usize) -> Vec<Line> {
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    let bytes = if is_packed {
        Command::new("gzip").arg("-dc").arg(path).output().map(|output| output.stdout).unwrap_or_default()
    } else {
        fs::read(path).unwrap_or_default()
    };
    let text = String::from_utf8_lossy(&bytes);
    let file = path.display().to_string();
    let line = |(number, text): (usize, &str)| Line {
        file: file.clone(),
        number: number + 1,
        text: text.chars().take(LINE_BYTES_MAX / 4).collect(),
    };
    text.lines().enumerate().take(at_most).map(line).collect()
}

fn generated(lines: usize) -> Vec<Vec<Line>> {
    const PER_FILE: usize = 1_000;
    let line = |number: usize| Line {
        file: format!("generated-{}", number / PER_FILE),
        number: number % PER_FILE + 1,
        text: format!("  * line {number} of a changelog that nobody wrote"),
    };
    let all: Vec<Line> = (0..lines).map(line).collect();
    all.chunks(PER_FILE).map(<[Line]>::to_vec).collect()
}
