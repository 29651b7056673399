//! Finds and builds `trunkline`: it is another package, so cargo does not tell its path.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary, up to date. `TRUNKLINE_BIN` names another one.
///
/// # Panics
/// If it cannot be built.
pub fn trunkline() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("TRUNKLINE_BIN") {
        Some(named) => named.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let target = target_directory();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "-p", "trunkline-node", "--bin", "trunkline"]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).env("CARGO_TARGET_DIR", &target);
    let status = cargo.status().expect("cargo can be run");
    assert!(status.success(), "trunkline-node does not build");
    target.join("release/trunkline")
}

/// This test is at TARGET/release/deps/NAME-HASH.
fn target_directory() -> PathBuf {
    let test = env::current_exe().expect("a process knows its file");
    test.ancestors().nth(3).expect("TARGET/release/deps/NAME").to_owned()
}
