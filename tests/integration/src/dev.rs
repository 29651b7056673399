//! `trunkline dev` on ports of its own.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;
use trunkline_testkit::{Client, eventually};

use crate::DATACENTERS;
use crate::child::{Child, assert_clean, command, tail};
use crate::connect;
use crate::ports::{self, Turn};

/// On a machine with two busy cores.
const START_MAX: Duration = Duration::from_secs(90);
/// Between the ports of two datacenters.
const STEP: u16 = 100;
const ADMIN: u16 = 20;

/// A running `trunkline dev`. Killed when dropped; a test ends with [`Dev::stop`], which reads the log.
#[derive(Debug)]
pub struct Dev {
    _turn: Turn,
    directory: TempDir,
    base_port: u16,
    wan: &'static str,
    more_args: Vec<String>,
    child: Option<Child>,
    clients: Vec<Client>,
}

impl Dev {
    /// A new cluster, healthy. `wan` is `real`, `150ms` or `none`.
    pub async fn start(wan: &'static str) -> Self {
        Self::start_with(wan, &[]).await
    }

    /// The same, with more arguments.
    pub async fn start_with(wan: &'static str, more_args: &[&str]) -> Self {
        let turn = Turn::take();
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let base_port = ports::free(STEP * 3);
        let clients = DATACENTERS.iter().enumerate().map(|(index, name)| {
            let datacenter = u16::try_from(index).expect("three");
            {
                let address = format!("127.0.0.1:{}", base_port + STEP * datacenter + 1);
                connect::client(name, &address, &address)
            }
        });
        let clients = clients.collect();
        let more_args = more_args.iter().map(|&arg| arg.to_owned()).collect();
        let mut dev = Self { _turn: turn, directory, base_port, wan, more_args, child: None, clients };
        dev.begin().await;
        dev
    }

    /// Starts it on the data that is there and waits until it is healthy.
    pub async fn begin(&mut self) {
        self.child = Some(Child::start("trunkline dev", self.args(), &self.log()));
        self.wait_until_healthy().await;
    }

    async fn wait_until_healthy(&mut self) {
        let (child, clients) = (self.child.as_mut().expect("it was started"), &self.clients);
        for client in clients {
            eventually(START_MAX, &format!("{} to be healthy", client.name()), async || {
                child.assert_running();
                client.is_healthy().await.then_some(())
            })
            .await;
        }
    }

    /// The command line's arguments.
    pub fn args(&self) -> Vec<String> {
        let (data, port) = (self.data().display().to_string(), self.base_port.to_string());
        let args = ["dev", "--base-port", &port, "--data", &data, "--wan", self.wan].map(str::to_owned);
        args.into_iter().chain(self.more_args.clone()).collect()
    }

    /// Of the process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").pid()
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn at(&self, datacenter: &str) -> &Client {
        self.clients.iter().find(|client| client.name() == datacenter).expect("a datacenter of DATACENTERS")
    }

    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Runs a client command to its end.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn run(&self, args: &[&str]) -> Output {
        command()
            .args(args)
            .env("TRUNKLINE_ENDPOINTS", self.endpoints())
            .env("TRUNKLINE_ADMIN", self.admins())
            .output()
            .expect("trunkline can be run")
    }

    /// Starts a client command, with its output in `log`.
    pub fn begin_command(&self, name: &str, args: &[&str], log: &Path) -> Child {
        let environment = [("TRUNKLINE_ENDPOINTS", self.endpoints()), ("TRUNKLINE_ADMIN", self.admins())];
        Child::start_with(name, args, environment, log)
    }

    /// The same, for a command that succeeds; what it printed.
    ///
    /// # Panics
    /// If it does not succeed.
    pub fn cli(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "trunkline {args:?} ended with {}:\n{out}{err}", output.status);
        out.into_owned()
    }

    /// As in `TRUNKLINE_ENDPOINTS`.
    pub fn endpoints(&self) -> String {
        let endpoint = |client: &Client| format!("{}={}", client.name(), client.address());
        self.clients.iter().map(endpoint).collect::<Vec<_>>().join(",")
    }

    /// As in `TRUNKLINE_ADMIN`.
    fn admins(&self) -> String {
        let admin = |index| format!("127.0.0.1:{}", self.base_port + STEP * index + ADMIN);
        (0..3).map(admin).collect::<Vec<_>>().join(",")
    }

    /// Ctrl-C, and the end.
    ///
    /// # Panics
    /// If it does not end with success, or its log has a WARN or ERROR.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.interrupt();
        let status = child.ended().await;
        assert!(status.success(), "Ctrl-C ended it with {status}:\n{}", tail(&self.log()));
        assert_clean(&self.log());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.take().expect("it runs").kill();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of {}:\n{}", self.log().display(), tail(&self.log()));
        }
    }
}
