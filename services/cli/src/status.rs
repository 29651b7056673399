//! `trunkline status`.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_types::{GroupId, Role};
use trunkline_wire::internal::{
    GetStatusResponse, NodeStatus, ReplicationStatus, StatusRequest, StatusResponse, admin_service,
};

use crate::admin;
use crate::args::AdminConnection;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline status
  trunkline status --json | jq 'select(.kind == \"replication\")'
  trunkline status --admin 10.0.0.7:7120

push and pop stand in no map: those of the process that is asked are listed, in dev all. For the others, ask at the
admin address of each.";

/// What `trunkline status` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: AdminConnection,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Cluster { cluster: String, map_version: u64, cut_off: Vec<String> },
    Node(Node),
    Group(Group),
    Replication(Replication),
}

#[derive(Debug, PartialEq, Serialize)]
struct Node {
    name: String,
    role: String,
    datacenter: String,
    address: String,
    boot: u32,
    map_version: u64,
    error: Option<String>,
    figures: BTreeMap<String, f64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Group {
    group: String,
    leader: Option<String>,
    term: u64,
    applied: u64,
    voters: u32,
}

/// From all stores of one datacenter to all of another: the worst of them.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Replication {
    from: String,
    to: String,
    /// All streams are up, as far as they could be asked, and all stores were.
    connected: bool,
    streams_up: u32,
    streams: u32,
    /// What a stream that is down would bring is not known.
    records_behind: Option<u64>,
    /// Of a stream that is down, since when. `None` if no store answers.
    behind_ms: Option<u64>,
}

/// The answer, sorted for reading.
#[derive(Debug, Default)]
struct View {
    nodes: Vec<Node>,
    groups: Vec<Group>,
    replication: Vec<Replication>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let answer = admin::call(context, &args.connection, admin_service::STATUS, &StatusRequest {}).await?;
    let (cluster, map_version) = (answer.cluster.clone(), answer.map_version);
    let cut_off = answer.cut_off.clone();
    let view = view(&answer);
    let failed = view.nodes.iter().any(|node| node.error.is_some());
    if args.connection.json {
        output::json(context, &Line::Cluster { cluster, map_version, cut_off })?;
        for node in view.nodes {
            output::json(context, &Line::Node(node))?;
        }
        for group in view.groups {
            output::json(context, &Line::Group(group))?;
        }
        for replication in view.replication {
            output::json(context, &Line::Replication(replication))?;
        }
    } else {
        writeln!(context.stdout, "cluster {cluster}, map version {map_version}")?;
        if !cut_off.is_empty() {
            writeln!(context.stdout, "cut off: {}", cut_off.join(", "))?;
        }
        writeln!(context.stdout)?;
        print(&view, context)?;
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

fn print(view: &View, context: &mut Context) -> Result<(), Failure> {
    let mut nodes =
        output::table(&["node", "role", "datacenter", "address", "boot", "map", "state"], &[4, 5]);
    for node in &view.nodes {
        let state = node.error.clone().unwrap_or_else(|| "up".to_owned());
        let (boot, map) = (node.boot.to_string(), node.map_version.to_string());
        nodes.add_row([&node.name, &node.role, &node.datacenter, &node.address, &boot, &map, &state]);
    }
    output::print(context, &nodes)?;
    writeln!(context.stdout)?;
    let mut groups = output::table(&["group", "leader", "term", "applied", "voters"], &[2, 3, 4]);
    for group in &view.groups {
        let leader = group.leader.clone().unwrap_or_else(|| "none".to_owned());
        let (term, applied, voters) =
            (group.term.to_string(), group.applied.to_string(), group.voters.to_string());
        groups.add_row([&group.group, &leader, &term, &applied, &voters]);
    }
    output::print(context, &groups)?;
    writeln!(context.stdout)?;
    let headings = ["from", "to", "connected", "records behind", "behind"];
    let mut replication = output::table(&headings, &[2, 3, 4]);
    for pair in &view.replication {
        let connected = format!("{} of {}", pair.streams_up, pair.streams);
        let unknown = if pair.streams_up == 0 { "unknown, no contact" } else { "unknown" };
        let records = pair.records_behind.map_or_else(|| unknown.to_owned(), |records| records.to_string());
        let behind = pair.behind_ms.map_or_else(|| "unknown".to_owned(), |behind| format!("{behind} ms"));
        replication.add_row([&pair.from, &pair.to, &connected, &records, &behind]);
    }
    output::print(context, &replication)?;
    Ok(())
}

fn view(answer: &StatusResponse) -> View {
    let names: BTreeMap<u64, &str> = answer
        .nodes
        .iter()
        .filter_map(|node| node.status.as_ref().map(|status| (status.node, node.name.as_str())))
        .collect();
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    for status in answer.nodes.iter().filter_map(|node| node.status.as_ref()) {
        for group in &status.groups {
            let name =
                GroupId::from_u32(group.group).map_or_else(|| group.group.to_string(), |id| id.to_string());
            let leader = (group.leader != 0).then(|| {
                names
                    .get(&group.leader)
                    .map_or_else(|| format!("{:016x}", group.leader), |&name| name.to_owned())
            });
            let seen =
                Group { group: name, leader, term: group.term, applied: group.applied, voters: group.voters };
            // Of several voters, the one with the newest term knows best.
            let newest = groups.get(&group.group).is_none_or(|known| {
                (known.term, known.leader.is_some(), known.applied)
                    < (seen.term, seen.leader.is_some(), seen.applied)
            });
            if newest {
                groups.insert(group.group, seen);
            }
        }
    }
    let nodes = answer.nodes.iter().map(node).collect();
    View { nodes, groups: groups.into_values().collect(), replication: replication(answer) }
}

/// Every pair of datacenters with stores, whether anybody could be asked or not.
fn replication(answer: &StatusResponse) -> Vec<Replication> {
    let is_store = |status: &GetStatusResponse| status.role == Role::MessageStore.as_str();
    let stores: Vec<(&NodeStatus, &GetStatusResponse)> = answer
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.status.as_ref().filter(|status| is_store(status))?)))
        .collect();
    let mut pairs: BTreeMap<(&str, &str), Replication> = BTreeMap::new();
    for (node, status) in &stores {
        let to = status.datacenter.as_str();
        for (_, other) in &stores {
            let from = other.datacenter.as_str();
            let is_other = from != to;
            if is_other {
                pairs.entry((from, to)).or_insert_with(|| Replication::between(from, to));
            }
            // Who does not answer may follow any of them.
            if is_other && !node.error.is_empty() {
                pairs.entry((from, to)).and_modify(|pair| pair.add(None));
            }
        }
        for stream in &status.replication {
            let from = stream.from_datacenter.as_str();
            pairs.entry((from, to)).or_insert_with(|| Replication::between(from, to)).add(Some(stream));
        }
    }
    pairs.into_values().map(Replication::honest).collect()
}

impl Replication {
    fn between(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), ..Self::default() }
    }

    /// A stream as its follower tells of it; `None` if that one does not answer.
    fn add(&mut self, stream: Option<&ReplicationStatus>) {
        self.streams += 1;
        let Some(stream) = stream else { return };
        self.streams_up += u32::from(stream.connected);
        self.records_behind = Some(self.records_behind.unwrap_or(0) + stream.records_behind);
        self.behind_ms = self.behind_ms.max(Some(stream.behind_ms));
    }

    fn honest(self) -> Self {
        let connected = self.streams > 0 && self.streams_up == self.streams;
        let records_behind = self.records_behind.filter(|_| connected);
        Self { connected, records_behind, ..self }
    }
}

fn node(node: &NodeStatus) -> Node {
    let status = node.status.clone().unwrap_or_default();
    Node {
        name: node.name.clone(),
        role: status.role,
        datacenter: status.datacenter,
        address: node.address.clone(),
        boot: status.boot_counter,
        map_version: status.map_version,
        error: Some(node.error.clone()).filter(|error| !error.is_empty()),
        figures: status.figures,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_wire::internal::GroupStatus;

    use super::*;

    fn voter(name: &str, node: u64, term: u64, leader: u64) -> NodeStatus {
        let group = GroupStatus { group: GroupId::ordering(1).to_u32(), leader, term, applied: 5, voters: 3 };
        let status = GetStatusResponse { node, groups: vec![group], ..GetStatusResponse::default() };
        NodeStatus { name: name.to_owned(), status: Some(status), ..NodeStatus::default() }
    }

    #[test]
    fn the_voter_with_the_newest_term_says_who_leads() {
        let nodes = vec![voter("a", 1, 3, 1), voter("b", 2, 4, 2), voter("c", 3, 4, 0)];
        let view = view(&StatusResponse { nodes, ..StatusResponse::default() });
        let [group] = &view.groups[..] else { panic!("one group") };
        assert_eq!((group.group.as_str(), group.leader.as_deref(), group.term), ("ordering-1", Some("b"), 4));
    }

    fn stream(from: &str, connected: bool, records_behind: u64, behind_ms: u64) -> ReplicationStatus {
        ReplicationStatus { from: 1, from_datacenter: from.to_owned(), connected, records_behind, behind_ms }
    }

    fn store(datacenter: &str, error: &str, replication: Vec<ReplicationStatus>) -> NodeStatus {
        let (role, datacenter) = (Role::MessageStore.to_string(), datacenter.to_owned());
        let status = GetStatusResponse { role, datacenter, replication, ..GetStatusResponse::default() };
        NodeStatus { status: Some(status), error: error.to_owned(), ..NodeStatus::default() }
    }

    fn told(nodes: Vec<NodeStatus>) -> Vec<String> {
        let view = view(&StatusResponse { nodes, ..StatusResponse::default() });
        let line = |pair| serde_json::to_string(&Line::Replication(pair)).expect("serializable");
        view.replication.into_iter().map(line).collect()
    }

    #[test]
    fn replication_is_told_per_pair_of_datacenters() {
        let nodes = vec![
            store("nyc", "", vec![stream("sea", true, 0, 0)]),
            store("sea", "", vec![stream("nyc", true, 3, 40), stream("nyc", true, 4, 90)]),
        ];
        let nyc_to_sea = "{\"kind\":\"replication\",\"from\":\"nyc\",\"to\":\"sea\",\"connected\":true,\
                          \"streams_up\":2,\"streams\":2,\"records_behind\":7,\"behind_ms\":90}";
        let lines = told(nodes);
        assert_eq!((lines.len(), lines[0].as_str()), (2, nyc_to_sea));
    }

    #[test]
    fn of_a_datacenter_that_is_cut_off_nobody_claims_to_know_the_lag() {
        let nodes = vec![
            store("nyc", "", vec![stream("sea", false, 0, 5_000)]),
            store("sea", "does not answer", Vec::new()),
        ];
        let [nyc_to_sea, sea_to_nyc] = &told(nodes)[..] else { panic!("both ways") };
        let unknown = "\"connected\":false,\"streams_up\":0,\"streams\":1,\"records_behind\":null";
        assert!(nyc_to_sea.ends_with(&format!("{unknown},\"behind_ms\":null}}")), "{nyc_to_sea}");
        assert!(sea_to_nyc.ends_with(&format!("{unknown},\"behind_ms\":5000}}")), "{sea_to_nyc}");
    }
}
