//! Every role as a process of its own, in three datacenters, made a cluster with `trunkline cluster init`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use trunkline_testkit::{Client, eventually};

use crate::DATACENTERS;
use crate::child::{Child, assert_clean, command, tail};
use crate::connect;
use crate::ports::{self, Turn};

/// On a machine with two busy cores.
const START_MAX: Duration = Duration::from_secs(120);
/// Between the ports of two datacenters; admin listeners are half of it above.
const STEP: u16 = 100;
const ADMIN: u16 = 50;
/// What runs in each datacenter: name, role, internal port, client port.
const NODES: [(&str, &str, u16, u16); 6] = [
    ("push", "push", 2, 1),
    ("pop", "pop", 3, 11),
    ("message-id", "message-id", 4, 0),
    ("subscription-position", "subscription-position", 5, 0),
    ("store-1", "message-store", 6, 0),
    ("store-2", "message-store", 7, 0),
];

struct Process {
    role: &'static str,
    config: PathBuf,
    log: PathBuf,
    /// Health by its internal address.
    health: Client,
    child: Option<Child>,
}

/// The processes, by names as `nyc-store-1`. Killed when dropped; a test ends with [`Processes::stop`].
pub struct Processes {
    _turn: Turn,
    directory: TempDir,
    processes: BTreeMap<String, Process>,
    clients: Vec<Client>,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.processes.keys()).finish()
    }
}

impl Processes {
    /// A new cluster, healthy.
    pub async fn start() -> Self {
        let turn = Turn::take();
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let base = ports::free(STEP * 3);
        let address = |index: usize, port: u16| {
            format!("127.0.0.1:{}", base + STEP * u16::try_from(index).expect("three") + port)
        };
        let clients = DATACENTERS.iter().enumerate();
        let clients =
            clients.map(|(index, name)| connect::client(name, &address(index, 1), &address(index, 11)));
        let clients = clients.collect();
        let mut cluster = Self { _turn: turn, directory, processes: BTreeMap::new(), clients };
        let seeds: Vec<String> = (0..3).map(|index| address(index, 4)).collect();
        for (index, datacenter) in DATACENTERS.iter().enumerate() {
            for (name, role, port, client_port) in NODES {
                let config = Config {
                    datacenter,
                    name,
                    role,
                    seeds: &seeds,
                    listen: address(index, port),
                    clients: address(index, client_port),
                    admin: address(index, port + ADMIN),
                };
                cluster.add(&config);
            }
        }
        let map = cluster.directory.path().join("map.toml");
        fs::write(&map, map_file(address)).expect("the map can be written");
        cluster.start_all().await;
        cluster.init(&map);
        cluster.wait_until_healthy().await;
        cluster
    }

    fn add(&mut self, config: &Config<'_>) {
        let name = format!("{}-{}", config.datacenter, config.name);
        let file = self.directory.path().join(format!("{name}.toml"));
        let data = self.directory.path().join(&name);
        fs::write(&file, config.text(&data.display().to_string())).expect("a configuration can be written");
        let process = Process {
            role: config.role,
            config: file,
            log: self.directory.path().join(format!("{name}.log")),
            health: connect::client(&name, &config.listen, &config.listen),
            child: None,
        };
        self.processes.insert(name, process);
    }

    /// Makes the nodes a cluster; twice, since it is safe to repeat.
    fn init(&self, map: &PathBuf) {
        for _ in 0..2 {
            let output =
                command().args(["cluster", "init", "--map"]).arg(map).output().expect("trunkline can be run");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "cluster init: {}: {said}", output.status);
        }
    }

    /// Starts all that do not run, without waiting for them.
    pub async fn start_all(&mut self) {
        let stopped = self.processes.iter().filter(|(_, process)| process.child.is_none());
        let names: Vec<String> = stopped.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.begin(&name);
        }
    }

    /// Starts one, without waiting for it.
    pub fn begin(&mut self, name: &str) {
        let process = self.process(name);
        let args =
            ["serve", process.role, "--config", &process.config.display().to_string()].map(str::to_owned);
        process.child = Some(Child::start(name, args, &process.log));
    }

    /// Waits until every process that runs is healthy.
    pub async fn wait_until_healthy(&mut self) {
        for (name, process) in &mut self.processes {
            let Some(child) = &mut process.child else { continue };
            eventually(START_MAX, &format!("{name} to be healthy"), async || {
                child.assert_running();
                process.health.is_healthy().await.then_some(())
            })
            .await;
        }
    }

    /// kill -9.
    pub fn kill(&mut self, name: &str) {
        self.process(name).child.take().expect("it runs").kill();
    }

    /// kill -9 of all, at once as far as that can be done.
    pub fn kill_all(&mut self) {
        let children: Vec<Child> =
            self.processes.values_mut().filter_map(|process| process.child.take()).collect();
        children.iter().for_each(Child::kill_soon);
    }

    /// SIGTERM, and the end.
    pub async fn terminate(&mut self, name: &str) {
        self.process(name).child.take().expect("it runs").terminate().await;
    }

    pub fn at(&self, datacenter: &str) -> &Client {
        self.clients.iter().find(|client| client.name() == datacenter).expect("a datacenter of DATACENTERS")
    }

    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Drains all, push and pop first, and reads the logs.
    ///
    /// # Panics
    /// If one does not end with success, or its log has a WARN or ERROR.
    pub async fn stop(&mut self) {
        for (_, role, _, _) in NODES {
            // Two of the nodes are of one role: whatever has ended is gone from here.
            let processes = self.processes.values_mut().filter(|process| process.role == role);
            for mut child in processes.filter_map(|process| process.child.take()) {
                child.terminate().await;
            }
        }
        for process in self.processes.values() {
            assert_clean(&process.log);
        }
    }

    fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("{name} is no process of this cluster"))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.processes.values() {
                eprintln!("the end of {}:\n{}", process.log.display(), tail(&process.log));
            }
        }
    }
}

struct Config<'a> {
    datacenter: &'a str,
    name: &'a str,
    role: &'static str,
    seeds: &'a [String],
    listen: String,
    clients: String,
    admin: String,
}

impl Config<'_> {
    /// As `trunkline serve` reads it.
    fn text(&self, data: &str) -> String {
        let Self { datacenter, name, role, seeds, listen, clients, admin } = self;
        format!(
            "[cluster]\nname = \"test\"\nseeds = {seeds:?}\n\n\
             [node]\ndatacenter = {datacenter:?}\nname = \"{datacenter}-{name}\"\ndata-dir = {data:?}\n\n\
             [listen]\n{role} = {listen:?}\nclients = {clients:?}\nadmin = {admin:?}\n"
        )
    }
}

/// As `trunkline cluster init` reads it.
fn map_file(address: impl Fn(usize, u16) -> String) -> String {
    let mut text = "name = \"test\"\nbuckets = 256\nordering-groups = 4\nposition-groups = 4\n".to_owned();
    let trips = ["{ mci = 33, sea = 70 }", "{ sea = 72 }", "{}"];
    for (datacenter, trips) in DATACENTERS.iter().zip(trips) {
        let _ = write!(text, "\n[[datacenters]]\nname = {datacenter:?}\nround-trip-ms = {trips}\n");
    }
    for (index, datacenter) in DATACENTERS.iter().enumerate() {
        for (name, role, port, _) in NODES.iter().filter(|(_, role, _, _)| !matches!(*role, "push" | "pop")) {
            let address = address(index, *port);
            let _ = write!(
                text,
                "\n[[nodes]]\nname = \"{datacenter}-{name}\"\nrole = {role:?}\ndatacenter = {datacenter:?}\n\
                 address = {address:?}\n"
            );
        }
    }
    text
}
