//! `trunkline nodes replace`.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_types::NodeId;
use trunkline_wire::internal::{ReplaceRequest, ReplaceResponse, admin_service};

use crate::admin;
use crate::args::AdminConnection;
use crate::context::Context;
use crate::failure::Failure;

const REPLACE_EXAMPLES: &str = "Examples:
  trunkline nodes replace nyc-store-1 nyc-store-1       # the new node runs where the old one did
  trunkline nodes replace nyc-store-1 10.0.0.9:7106     # it runs elsewhere";

const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Give a node's place to a new one, started with an empty data directory. Safe to repeat and to interrupt
    #[command(after_help = REPLACE_EXAMPLES)]
    Replace(ReplaceArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct ReplaceArgs {
    /// The node that is no more: its name, as `trunkline status` shows it, or its id
    old: String,
    /// Where the new node listens for other nodes: HOST:PORT, or the name of a node whose address it has
    new: String,
    /// How long to wait until the new node has the place; what was begun goes on even so
    #[arg(long, default_value = "120s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    connection: AdminConnection,
}

pub(crate) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    let Command::Replace(args) = command;
    let until = Instant::now() + args.timeout;
    let request = ReplaceRequest { old: args.old.clone(), new: args.new.clone() };
    loop {
        let answer: ReplaceResponse =
            admin::call(context, &args.connection, admin_service::REPLACE, &request).await?;
        if answer.done {
            return said(context, &args, &answer);
        }
        if Instant::now() >= until {
            let what = "it has begun and goes on by itself; repeat the command to wait for it";
            return Err(Failure::Failed(format!("{} has not its place yet: {what}", NodeId(answer.new))));
        }
        sleep(PAUSE).await;
    }
}

fn said(context: &mut Context, args: &ReplaceArgs, answer: &ReplaceResponse) -> Result<(), Failure> {
    let (new, version) = (NodeId(answer.new), answer.map_version);
    if args.connection.json {
        let said = serde_json::json!({ "replaced": args.old, "by": new.to_string(), "map_version": version });
        return Ok(crate::output::json(context, &said)?);
    }
    writeln!(
        context.stdout,
        "{} is replaced by node {new} since map version {version}; `trunkline status` shows how far it is behind",
        args.old
    )?;
    Ok(())
}
