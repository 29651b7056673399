//! A `trunkline dev` of its own: the program that runs the bench, in another process.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};
use trunkline_client::Endpoints;

use crate::args::Connection;
use crate::failure::Failure;
use crate::input;

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(30);
/// How its welcome begins.
const READY: &str = "Trunkline runs";
const DATACENTERS: [&str; 3] = ["nyc", "mci", "sea"];
/// From one datacenter's ports to the next one's, and where clients and operators are.
const STEP: u16 = 100;
const CLIENTS: u16 = 1;
const ADMIN: u16 = 20;

/// Where clusters stand, one after another.
#[derive(Clone, Debug)]
pub(super) struct Site {
    base_port: u16,
    data: PathBuf,
    endpoints: Endpoints,
    pub(super) admin: Vec<String>,
}

impl Site {
    pub(super) fn new(base_port: u16, data: &Path) -> Result<Self, Failure> {
        if base_port.checked_add(STEP * 3).is_none() {
            return Err(Failure::Usage(format!("--base-port {base_port}: there is no room above it")));
        }
        let address = |place: usize, port: u16| {
            format!("127.0.0.1:{}", base_port + STEP * u16::try_from(place).unwrap_or_default() + port)
        };
        let endpoints = DATACENTERS.iter().enumerate();
        let endpoints = endpoints.map(|(place, name)| format!("{name}={}", address(place, CLIENTS)));
        let endpoints =
            endpoints.collect::<Vec<_>>().join(",").parse().expect("three addresses are endpoints");
        let admin = (0..DATACENTERS.len()).map(|place| address(place, ADMIN)).collect();
        // A folder of its own, since it is removed with all that is in it.
        Ok(Self { base_port, data: data.join("bench-cluster"), endpoints, admin })
    }

    pub(super) fn connection(&self) -> Connection {
        Connection { endpoints: self.endpoints.clone(), datacenter: None, json: false }
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn log(&self) -> PathBuf {
        self.data.join("log")
    }
}

/// A running cluster. Killed when dropped.
pub(super) struct Cluster {
    child: Child,
    /// Kept, for without a reader what it says next would be an error there.
    output: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    /// From its start until it said that it was ready.
    pub(super) ready_after: Duration,
}

impl Cluster {
    /// Starts it on what is at the site, and waits until every node is ready. `small_caches`: as if its data were far
    /// larger than memory.
    pub(super) async fn start(site: &Site, wan: &str, small_caches: bool) -> Result<Self, Failure> {
        fs::create_dir_all(&site.data)?;
        let log = File::options().create(true).append(true).open(site.log())?;
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TRUNKLINE_"))
        {
            command.env_remove(name);
        }
        command
            .args(["dev", "--wan", wan, "--base-port", &site.base_port.to_string(), "--data"])
            .arg(&site.data)
            .args(small_caches.then_some("--small-caches"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().expect("it is piped");
        let output = input::lines(Box::new(BufReader::new(stdout)));
        // From here on it is killed when dropped.
        let mut cluster = Self { child, output, ready_after: Duration::ZERO };
        let ready = async {
            while let Some(line) = cluster.output.recv().await {
                if line?.starts_with(READY.as_bytes()) {
                    return Ok(begun.elapsed());
                }
            }
            let log = fs::read_to_string(site.log()).unwrap_or_default();
            let last = log.lines().next_back().unwrap_or("it has said nothing");
            Err(Failure::Failed(format!("trunkline dev has ended early: {last}")))
        };
        let late =
            |_| Err(Failure::Failed(format!("trunkline dev is not ready after {} s", START_MAX.as_secs())));
        cluster.ready_after = timeout(START_MAX, ready).await.unwrap_or_else(late)?;
        Ok(cluster)
    }

    /// Ctrl-C, and its end.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let told = Command::new("sh").arg("-c").arg(format!("kill -INT {}", self.child.id())).status()?;
        let mut ticks = interval(Duration::from_millis(20));
        let ended = async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.child.try_wait()? {
                    return Ok::<_, Failure>(status);
                }
            }
        };
        match timeout(STOP_MAX, ended).await {
            Ok(Ok(status)) if status.success() && told.success() => Ok(()),
            _ => Err(Failure::Failed("trunkline dev has not ended with success".to_owned())),
        }
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_where_dev_listens() {
        let site = Site::new(17_100, Path::new("data")).expect("there is room");
        assert_eq!(site.data(), Path::new("data/bench-cluster"), "what else is in data stays");
        assert_eq!(site.admin, ["127.0.0.1:17120", "127.0.0.1:17220", "127.0.0.1:17320"]);
        assert_eq!(
            site.connection().endpoints.to_string(),
            "nyc=127.0.0.1:17101,mci=127.0.0.1:17201,sea=127.0.0.1:17301"
        );
        assert!(Site::new(65_400, Path::new("data")).is_err());
    }
}
