//! One process of the binary: its log in a file, its end.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child as OsChild, Command, ExitStatus, Stdio};
use std::time::Duration;

use trunkline_testkit::eventually;

use crate::binary::trunkline;

/// How long a process may take to drain and end.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Lines of a log that a failure shows.
const LINES_SHOWN: usize = 40;

/// A running `trunkline`. Killed when dropped.
pub struct Child {
    name: String,
    process: OsChild,
    log: PathBuf,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Child").field(&self.name).finish()
    }
}

impl Child {
    /// Starts it with its output appended to `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>, log: &Path) -> Self {
        Self::start_with(name, args, [], log)
    }

    /// The same, with this in its environment.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with<A: AsRef<OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = A>,
        environment: impl IntoIterator<Item = (&'static str, String)>,
        log: &Path,
    ) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("the log can be written");
        let errors = output.try_clone().expect("a file can be shared");
        let mut command = command();
        command.args(args).envs(environment).stdin(Stdio::null()).stdout(output).stderr(errors);
        let process = command.spawn();
        let process = process.expect("trunkline can be run");
        Self { name: name.to_owned(), process, log: log.to_owned() }
    }

    /// # Panics
    /// With the end of its log, if it has ended.
    pub fn assert_running(&mut self) {
        if let Ok(Some(status)) = self.process.try_wait() {
            panic!("{} has ended with {status}:\n{}", self.name, tail(&self.log));
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL, as a machine that vanishes.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// SIGKILL, without waiting for the end.
    pub fn kill_soon(&self) {
        self.signal("KILL");
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// If it does not end, or not with success.
    pub async fn terminate(&mut self) {
        self.signal("TERM");
        let status = self.ended().await;
        assert!(status.success(), "{} has ended with {status}:\n{}", self.name, tail(&self.log));
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// How it ended.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually(DRAIN_MAX, "the end of a process", async || self.process.try_wait().ok().flatten()).await
    }

    fn signal(&self, name: &str) {
        // Of the shell, which has one of its own: the program is not on every machine.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.process.id())).status();
        assert!(sent.is_ok_and(|status| status.success()), "{} cannot be told {name}", self.name);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The binary, without what the environment of the test says to it.
pub fn command() -> Command {
    let mut command = Command::new(trunkline());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRUNKLINE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

/// # Panics
/// If a log has a WARN or ERROR line, or a panic.
pub fn assert_clean(log: &Path) {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let found = complaints(&text);
    assert!(found.is_empty(), "complaints in {}:\n{}", log.display(), found.join("\n"));
}

fn complaints(log: &str) -> Vec<&str> {
    let is_bad = |line: &str| {
        let level = |level: &str| {
            // After the time, in text; a field, in JSON.
            line.split_whitespace().nth(1) == Some(level) || line.contains(&format!("\"level\":\"{level}\""))
        };
        level("WARN") || level("ERROR") || line.contains("panicked at")
    };
    log.lines().filter(|line| is_bad(line)).take(LINES_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_warns_is_found() {
        let log = "2027-01-15T08:00:00.000000Z  INFO trunkline_push: WARN and ERROR are words\n\
                   2027-01-15T08:00:00.000000Z  WARN trunkline_push: the disk is slow\n\
                   {\"timestamp\":\"2027\",\"level\":\"ERROR\",\"message\":\"the disk is full\"}\n\
                   thread 'main' panicked at src/main.rs:1:1:\n";
        let found = complaints(log);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(!found.iter().any(|line| line.contains("are words")), "{found:?}");
    }
}
