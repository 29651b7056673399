//! Where settings come from: the file, then the environment, then flags.

use std::fs;

use trunkline_integration::child::command;

const FILE: &str = r#"
    [cluster]
    seeds = ["127.0.0.1:7104"]
    [node]
    datacenter = "nyc"
    [listen]
    message-id = "127.0.0.1:7104"
"#;

/// What `serve` says when it does not begin.
fn refusal(environment: &[(&str, &str)], flags: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("nyc.toml");
    fs::write(&file, FILE).expect("it can be written");
    let mut serve = command();
    serve.args(["serve", "message-id", "--config"]).arg(&file).args(flags);
    let output = serve.envs(environment.iter().copied()).output().expect("trunkline can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    said
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let elsewhere = ("TRUNKLINE_LISTEN__MESSAGE_ID", "0.0.0.0:7104");
    let said = refusal(&[elsewhere], &[]);
    assert!(said.contains("listen.message-id: 0.0.0.0:7104 is not loopback"), "{said}");
    let said = refusal(&[elsewhere, ("TRUNKLINE_NODE__INSECURE", "true")], &[]);
    assert!(said.contains("advertise.message-id: must be said"), "a boolean is read as one: {said}");
    let said = refusal(&[elsewhere], &["--set", "listen.message-id=0.0.0.0:9"]);
    assert!(said.contains("listen.message-id: 0.0.0.0:9 is not loopback"), "{said}");
    let said = refusal(&[("TRUNKLINE_CLUSTER__SEEDS", "[]")], &[]);
    assert!(said.contains("cluster.seeds: at least one is needed"), "a list is read as one: {said}");
}

#[test]
fn what_the_environment_misspells_is_refused_by_name() {
    let said = refusal(&[("TRUNKLINE_LISTEN__PSUH", "127.0.0.1:1")], &[]);
    assert!(said.to_lowercase().contains("psuh"), "{said}");
}
