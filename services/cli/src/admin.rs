//! `trunkline cut`, `heal`, `stop` and `start`, and the way to the admin listeners.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_client::{Code, Status};
use trunkline_ports::{CallOptions, Class, Network, Peer};
use trunkline_wire::Message;
use trunkline_wire::internal::{CutRequest, HealRequest, StartNodeRequest, StopNodeRequest, admin_service};
use trunkline_wire::method::Unary;

use crate::args::AdminConnection;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) const CUT_EXAMPLES: &str = "Examples:
  trunkline cut sea       # its clients go on with local pushes to existing topics
  trunkline heal sea      # what it took is ordered now, exactly once";

pub(crate) const STOP_EXAMPLES: &str = "Examples:
  trunkline status
  trunkline stop nyc-store-1
  trunkline start nyc-store-1";

/// An admin listener that takes longer is passed over.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A datacenter.
#[derive(Clone, Debug, clap::Args)]
pub struct DatacenterArgs {
    /// For example sea
    datacenter: String,
    #[command(flatten)]
    connection: AdminConnection,
}

/// A node.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    /// As `trunkline status` names it
    node: String,
    #[command(flatten)]
    connection: AdminConnection,
}

pub(crate) async fn cut(args: DatacenterArgs, context: &mut Context) -> Result<(), Failure> {
    let request = CutRequest { datacenter: args.datacenter.clone() };
    call(context, &args.connection, admin_service::CUT, &request).await?;
    said(context, &args.connection, "cut", &args.datacenter, "is cut off from the others")
}

pub(crate) async fn heal(args: DatacenterArgs, context: &mut Context) -> Result<(), Failure> {
    let request = HealRequest { datacenter: args.datacenter.clone() };
    call(context, &args.connection, admin_service::HEAL, &request).await?;
    said(context, &args.connection, "healed", &args.datacenter, "reaches the others again")
}

pub(crate) async fn stop(args: NodeArgs, context: &mut Context) -> Result<(), Failure> {
    let request = StopNodeRequest { node: args.node.clone() };
    call(context, &args.connection, admin_service::STOP_NODE, &request).await?;
    said(context, &args.connection, "stopped", &args.node, "is stopped")
}

pub(crate) async fn start(args: NodeArgs, context: &mut Context) -> Result<(), Failure> {
    let request = StartNodeRequest { node: args.node.clone() };
    call(context, &args.connection, admin_service::START_NODE, &request).await?;
    said(context, &args.connection, "started", &args.node, "is started")
}

fn said(
    context: &mut Context,
    connection: &AdminConnection,
    done: &str,
    name: &str,
    words: &str,
) -> Result<(), Failure> {
    if connection.json {
        crate::output::json(context, &serde_json::json!({ done: name }))?;
    } else {
        writeln!(context.stdout, "{name} {words}")?;
    }
    Ok(())
}

/// Asks the first admin listener that answers.
pub(crate) async fn call<Q: Message, A: Message + Default>(
    context: &Context,
    connection: &AdminConnection,
    method: Unary<Q, A>,
    request: &Q,
) -> Result<A, Failure> {
    call_first(&context.network, &connection.addresses()?, method, request).await
}

/// Asks the first of these listeners that answers.
pub(crate) async fn call_first<Q: Message, A: Message + Default>(
    network: &Network,
    addresses: &[String],
    method: Unary<Q, A>,
    request: &Q,
) -> Result<A, Failure> {
    let mut last = Status::invalid_argument("no admin address is named");
    for address in addresses {
        let peer = Peer::new(address.trim(), Class::Calls);
        let options = CallOptions::until(Instant::now() + ANSWER_MAX);
        match network.call(&peer, method, request, options).await {
            Err(error) if matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded) => last = error,
            answer => return Ok(answer?),
        }
    }
    Err(last.into())
}
