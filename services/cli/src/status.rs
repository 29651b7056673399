//! `trunkline status`.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_types::GroupId;
use trunkline_wire::internal::{NodeStatus, StatusRequest, StatusResponse, admin_service};

use crate::admin;
use crate::args::AdminConnection;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline status
  trunkline status --json | jq 'select(.kind == \"replication\")'
  trunkline status --admin 10.0.0.7:7120";

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
    connected: u32,
    streams: u32,
    records_behind: u64,
    behind_ms: u64,
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
        let connected = format!("{} of {}", pair.connected, pair.streams);
        let (records, behind) = (pair.records_behind.to_string(), format!("{} ms", pair.behind_ms));
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
    let mut pairs: BTreeMap<(String, String), Replication> = BTreeMap::new();
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
        for stream in &status.replication {
            let key = (stream.from_datacenter.clone(), status.datacenter.clone());
            let pair = pairs.entry(key.clone()).or_default();
            (pair.from, pair.to) = key;
            pair.streams += 1;
            pair.connected += u32::from(stream.connected);
            pair.records_behind += stream.records_behind;
            pair.behind_ms = pair.behind_ms.max(stream.behind_ms);
        }
    }
    let nodes = answer.nodes.iter().map(node).collect();
    View { nodes, groups: groups.into_values().collect(), replication: pairs.into_values().collect() }
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
    use trunkline_wire::internal::{GetStatusResponse, GroupStatus, ReplicationStatus};

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

    #[test]
    fn replication_is_told_per_pair_of_datacenters() {
        let stream = |connected, records_behind, behind_ms| ReplicationStatus {
            from: 1,
            from_datacenter: "nyc".to_owned(),
            connected,
            records_behind,
            behind_ms,
        };
        let store = GetStatusResponse {
            datacenter: "sea".to_owned(),
            replication: vec![stream(true, 3, 40), stream(false, 4, 90)],
            ..GetStatusResponse::default()
        };
        let nodes = vec![NodeStatus { status: Some(store), ..NodeStatus::default() }];
        let view = view(&StatusResponse { nodes, ..StatusResponse::default() });
        let json =
            serde_json::to_string(&Line::Replication(view.replication.into_iter().next().expect("one")));
        assert_eq!(
            json.expect("serializable"),
            "{\"kind\":\"replication\",\"from\":\"nyc\",\"to\":\"sea\",\"connected\":1,\"streams\":2,\
             \"records_behind\":7,\"behind_ms\":90}"
        );
    }
}
