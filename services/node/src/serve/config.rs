//! What `trunkline serve` is told: defaults, then the file, then the environment, then flags.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use serde::Deserialize;
use trunkline_types::{DatacenterName, Role};

use crate::node::Plan;
use crate::options::{Clients, Options};
use crate::refusal::Refusal;

const ENVIRONMENT: &str = "TRUNKLINE_";

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    pub cluster: Cluster,
    pub node: NodeSection,
    pub listen: Listen,
    /// `HOST:PORT` at which other nodes reach a role, where it is not where it listens.
    pub advertise: PerRole<String>,
    /// A role's data directory, where it is not `node.data-dir`/ROLE.
    pub data: PerRole<PathBuf>,
    pub telemetry: trunkline_telemetry::Options,
    pub push: trunkline_push::Options,
    pub pop: trunkline_pop::Options,
    pub message_id: trunkline_message_id::Options,
    pub message_store: trunkline_message_store::Options,
    pub storage: trunkline_storage::Options,
    pub consensus: trunkline_consensus::Options,
    pub clients: Clients,
}

/// Which cluster to join.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cluster {
    /// A node never joins a cluster of another name.
    pub name: String,
    /// Internal addresses of nodes that may know the cluster map, `HOST:PORT`. DNS names are resolved at each connection.
    pub seeds: Vec<String>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { name: "trunkline".to_owned(), seeds: Vec::new() }
    }
}

/// The section `[node]`: what all roles of this process share.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeSection {
    /// No default: a node must know where it stands.
    pub datacenter: String,
    /// What the node is called; with several roles NAME-ROLE, and by default DATACENTER-ROLE.
    pub name: Option<String>,
    pub data_dir: PathBuf,
    /// Allows listeners elsewhere than on loopback, unencrypted and unauthenticated.
    pub insecure: bool,
    /// How long what is under way may take to finish after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: std::time::Duration,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            datacenter: String::new(),
            name: None,
            data_dir: PathBuf::from("data"),
            insecure: false,
            drain_timeout: std::time::Duration::from_secs(10),
        }
    }
}

/// The section `[listen]`: where to bind, `HOST:PORT`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listen {
    pub clients: String,
    pub push: String,
    pub pop: String,
    pub message_id: String,
    pub subscription_position: String,
    pub message_store: String,
    pub admin: String,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port: u16| format!("127.0.0.1:{port}");
        Self {
            clients: loopback(7101),
            push: loopback(7102),
            pop: loopback(7103),
            message_id: loopback(7104),
            subscription_position: loopback(7105),
            message_store: loopback(7106),
            admin: loopback(7120),
        }
    }
}

impl Listen {
    fn of(&self, role: Role) -> &str {
        match role {
            Role::Push => &self.push,
            Role::Pop => &self.pop,
            Role::MessageId => &self.message_id,
            Role::SubscriptionPosition => &self.subscription_position,
            Role::MessageStore => &self.message_store,
        }
    }
}

/// Something that may be said for each role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PerRole<T> {
    pub push: Option<T>,
    pub pop: Option<T>,
    pub message_id: Option<T>,
    pub subscription_position: Option<T>,
    pub message_store: Option<T>,
}

impl<T> PerRole<T> {
    fn of(&self, role: Role) -> Option<&T> {
        match role {
            Role::Push => self.push.as_ref(),
            Role::Pop => self.pop.as_ref(),
            Role::MessageId => self.message_id.as_ref(),
            Role::SubscriptionPosition => self.subscription_position.as_ref(),
            Role::MessageStore => self.message_store.as_ref(),
        }
    }
}

impl Config {
    /// Reads the file, then the environment, `TRUNKLINE_SECTION__KEY` with `_` for `-`, then `set`, `section.key=value`.
    ///
    /// # Errors
    /// One line with the file and the key.
    pub fn read(file: &Path, set: &[String]) -> Result<Self, Refusal> {
        if !file.is_file() {
            return Err(Refusal::new(format!("{}: there is no such file", file.display())));
        }
        let environment = Env::prefixed(ENVIRONMENT)
            .filter(|key| key.as_str().contains("__"))
            .map(|key| key.as_str().replace("__", ".").replace('_', "-").to_lowercase().into());
        let figment = Figment::new().merge(Toml::file_exact(file)).merge(environment);
        let flags: Result<Vec<_>, Refusal> = set.iter().map(|flag| flagged(flag)).collect();
        flags?.into_iter().fold(figment, Figment::merge).extract().map_err(Refusal::new)
    }

    /// # Errors
    /// One line in the words of the file.
    pub fn validate(&self, roles: &[Role]) -> Result<(), Refusal> {
        if self.node.datacenter.is_empty() {
            return Err(Refusal::new("node.datacenter: must be said"));
        }
        if self.cluster.seeds.is_empty() {
            return Err(Refusal::new("cluster.seeds: at least one is needed"));
        }
        if roles.is_empty() {
            return Err(Refusal::new("no role is named"));
        }
        for (index, role) in roles.iter().enumerate() {
            if roles[..index].contains(role) {
                return Err(Refusal::new(format!("{role} is named twice")));
            }
        }
        self.options().validate().map_err(Refusal::new)?;
        self.telemetry.validate().map_err(Refusal::new)?;
        self.validate_listeners(roles)
    }

    /// Where a process with these roles listens, by key.
    fn listeners(&self, roles: &[Role]) -> impl Iterator<Item = (&str, &str)> {
        let internal = roles.iter().map(|role| (role.as_str(), self.listen.of(*role)));
        let clients = serves_clients(roles).then_some(("clients", self.listen.clients.as_str()));
        internal.chain(clients).chain([("admin", self.listen.admin.as_str())])
    }

    fn validate_listeners(&self, roles: &[Role]) -> Result<(), Refusal> {
        for (name, address) in self.listeners(roles) {
            let bound: Vec<SocketAddr> = match address.to_socket_addrs() {
                Ok(bound) => bound.collect(),
                Err(error) => return Err(Refusal::new(format!("listen.{name}: {address}: {error}"))),
            };
            if !self.node.insecure && bound.iter().any(|address| !address.ip().is_loopback()) {
                return Err(Refusal::new(format!(
                    "listen.{name}: {address} is not loopback, and what goes there is neither encrypted nor \
                     authenticated: node.insecure = true allows it"
                )));
            }
        }
        for role in roles {
            let address = self.advertised(*role);
            if address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified()) {
                return Err(Refusal::new(format!(
                    "advertise.{role}: must be said, for nobody can reach {address}"
                )));
            }
        }
        Ok(())
    }

    fn advertised(&self, role: Role) -> &str {
        self.advertise.of(role).map_or_else(|| self.listen.of(role), String::as_str)
    }

    /// The node that a role is, `alone` in its process or not.
    pub(crate) fn plan(&self, role: Role, alone: bool) -> Plan {
        let name = match &self.node.name {
            Some(name) if alone => name.clone(),
            Some(name) => format!("{name}-{role}"),
            None => format!("{}-{role}", self.node.datacenter),
        };
        let directory =
            || self.data.of(role).cloned().unwrap_or_else(|| self.node.data_dir.join(role.as_str()));
        Plan {
            role,
            datacenter: DatacenterName(self.node.datacenter.clone()),
            name,
            listen: self.listen.of(role).to_owned(),
            advertise: self.advertised(role).to_owned(),
            data: role.is_stateful().then(directory),
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            push: self.push.clone(),
            pop: self.pop.clone(),
            message_id: self.message_id.clone(),
            message_store: self.message_store.clone(),
            storage: self.storage.clone(),
            consensus: self.consensus.clone(),
            clients: self.clients.clone(),
        }
    }
}

/// A value is read as TOML; what is no TOML is a text.
fn flagged(flag: &str) -> Result<figment::providers::Data<Toml>, Refusal> {
    let refused = || Refusal::new(format!("--set {flag}: is not SECTION.KEY=VALUE"));
    let (key, value) = flag.split_once('=').ok_or_else(refused)?;
    if !key.contains('.') || !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')) {
        return Err(refused());
    }
    let value = match toml::from_str::<toml::Table>(&format!("value = {value}")) {
        Ok(_) => value.to_owned(),
        Err(_) => toml::Value::String(value.to_owned()).to_string(),
    };
    Ok(Toml::string(&format!("{key} = {value}")))
}

/// Whether any of these roles has methods for clients.
pub(crate) fn serves_clients(roles: &[Role]) -> bool {
    roles.iter().any(|role| matches!(role, Role::Push | Role::Pop))
}

#[cfg(test)]
mod tests;
