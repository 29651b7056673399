//! The house rules, held against this repository.

use std::fmt::Write as _;
use std::fs;

use trunkline_tidy::tree::{self, File};
use trunkline_tidy::{Complaint, manifests, protos, sources, words};

#[track_caller]
fn assert_none(complaints: Vec<Complaint>) {
    let lines = complaints.iter().fold(String::new(), |mut lines, complaint| {
        let _ = writeln!(lines, "  {complaint}");
        lines
    });
    assert!(lines.is_empty(), "\n{lines}");
}

fn files(endings: &[&str]) -> Vec<File> {
    let files = tree::files(&tree::root(), endings).expect("the repository can be read");
    assert!(!files.is_empty(), "no file ends in {endings:?}: this test looks in the wrong place");
    files
}

fn packages() -> Vec<manifests::Package> {
    let packages = tree::packages(&tree::root().join("Cargo.toml")).expect("cargo knows the workspace");
    assert!(packages.len() > 20, "cargo knows only {} packages", packages.len());
    packages
}

/// With the simulator, which is a workspace of its own.
fn all_packages() -> Vec<manifests::Package> {
    let simulation = tree::root().join("tests/simulation/Cargo.toml");
    let simulation = tree::packages(&simulation).expect("cargo knows the simulator");
    assert!(simulation.iter().any(|package| package.name == "trunkline-simulation"), "{simulation:?}");
    packages().into_iter().chain(simulation).collect()
}

#[test]
fn floors_point_down() {
    assert_none(manifests::floors(&all_packages()));
}

#[test]
fn what_belongs_to_one_crate_is_named_by_no_other() {
    assert_none(manifests::owners(&all_packages()));
}

#[test]
fn members_take_versions_and_lints_from_the_workspace() {
    let members = files(&["Cargo.toml"]).into_iter();
    let members =
        members.filter(|file| file.path != "Cargo.toml" && !file.path.starts_with("tests/simulation/"));
    assert_none(members.flat_map(|file| manifests::member(&file.path, &file.text).unwrap()).collect());
}

#[test]
fn every_dependency_of_the_workspace_is_used() {
    let root = fs::read_to_string(tree::root().join("Cargo.toml")).unwrap();
    assert_none(manifests::unused(&root, &packages()).unwrap());
}

#[test]
fn every_declared_dependency_is_named_in_the_source() {
    let sources = files(&[".rs"]);
    let manifests = files(&["Cargo.toml"]);
    let mut complaints = Vec::new();
    for package in packages() {
        let name = format!("name = \"{}\"", package.name);
        let manifest = manifests.iter().find(|file| file.text.contains(&name)).unwrap();
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let text: String = sources
            .iter()
            .filter(|file| file.path.starts_with(folder))
            .map(|file| file.text.as_str())
            .collect();
        complaints.extend(manifests::idle_dependencies(&package, &text));
    }
    assert_none(complaints);
}

#[test]
fn no_crate_replaces_the_lints_of_the_root() {
    let configurations = files(&["clippy.toml"]).into_iter().map(|file| file.path);
    assert_none(configurations.filter(|path| path != "clippy.toml").collect());
}

#[test]
fn rust_files_keep_the_rules_of_the_house() {
    assert_none(files(&[".rs"]).iter().flat_map(sources::check).collect());
}

#[test]
fn tests_wait_for_values_and_not_for_time() {
    assert_none(sources::sleeps(&files(&[".rs"])));
}

#[test]
fn protocols_keep_the_rules_of_the_house() {
    let ours = files(&[".proto"]).into_iter().filter(|file| !file.path.starts_with("proto/google/"));
    assert_none(ours.flat_map(|file| protos::check(&file)).collect());
}

#[test]
fn spelling_is_american() {
    let texts = files(&[".rs", ".md", ".proto", ".toml", ".yaml", ".yml", ".py", "Makefile"]);
    // Tests may misspell, to see what comes of it.
    let texts = texts.iter().filter(|file| !sources::is_test(&file.path));
    assert_none(texts.flat_map(words::check).collect());
}

#[test]
fn documents_keep_their_length() {
    let limits = [("README.md", 150), ("ARCHITECTURE.md", 300)];
    let lengths = limits.map(|(path, limit)| {
        let lines = fs::read_to_string(tree::root().join(path)).unwrap().lines().count();
        (lines > limit).then(|| format!("{path} has {lines} lines, more than {limit}"))
    });
    assert_none(lengths.into_iter().flatten().collect());
}
