//! A client made from server reflection alone: docs/python_client.py makes the four calls.

use std::path::{Path, PathBuf};
use std::process::Command;

use trunkline_integration::Dev;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/python_client.py");

/// A Python with grpcio: the one at hand if it has it, else one of its own; `None` where neither can be had.
fn python(folder: &Path) -> Option<PathBuf> {
    let has_grpc = |python: &Path| {
        let import = Command::new(python).args(["-c", "import grpc, grpc_reflection.v1alpha"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let at_hand = PathBuf::from("python3");
    if has_grpc(&at_hand) {
        return Some(at_hand);
    }
    let run = |program: &Path, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    let made = run(&at_hand, &["-m", "venv", &venv.display().to_string()])
        && run(
            &python,
            &[
                "-m",
                "pip",
                "install",
                "--quiet",
                "--timeout",
                "20",
                "--retries",
                "1",
                "grpcio",
                "grpcio-reflection",
            ],
        );
    (made && has_grpc(&python)).then_some(python)
}

#[tokio::test]
async fn a_python_client_made_from_reflection_makes_the_four_calls() {
    let mut dev = Dev::start("none").await;
    let Some(python) = python(dev.directory()) else {
        eprintln!("skipped: no Python with grpcio, and pip does not reach one");
        dev.stop().await;
        return;
    };
    let output =
        Command::new(python).arg(CLIENT).arg(dev.at("mci").address()).output().expect("python can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for line in ["receipt: ", "message 1 says hello from Python", "topics: greetings"] {
        assert!(out.contains(line), "{line:?} is not in {out}");
    }
    dev.stop().await;
}
