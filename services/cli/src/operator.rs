//! `trunkline order-time …` and `trunkline datacenters …`: what only a person can know.

use trunkline_wire::internal::{AdminConfirmOrderTimeRequest, DeclareDatacenterRequest, admin_service};

use crate::admin::call;
use crate::args::AdminConnection;
use crate::context::Context;
use crate::failure::Failure;

/// What can be done about order time.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum OrderTime {
    /// Say that the clocks are right: a step that they show is taken, and messages expire again
    #[command(
        after_help = "Examples:\n  date                              # on every message-id machine: is it right?\n  trunkline order-time confirm"
    )]
    Confirm {
        #[command(flatten)]
        connection: AdminConnection,
    },
}

/// What can be said of a datacenter.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Datacenters {
    /// Its disks are gone, or will be away for long: what expires elsewhere does not wait until it has it
    #[command(
        after_help = "Examples:\n  trunkline datacenters declare-lost sea\n  trunkline datacenters declare-found sea"
    )]
    DeclareLost {
        /// For example sea
        datacenter: String,
        #[command(flatten)]
        connection: AdminConnection,
    },
    /// It is there again: what expires waits until it has it, as before
    #[command(after_help = "Examples:\n  trunkline datacenters declare-found sea")]
    DeclareFound {
        /// For example sea
        datacenter: String,
        #[command(flatten)]
        connection: AdminConnection,
    },
}

pub(crate) async fn order_time(command: OrderTime, context: &mut Context) -> Result<(), Failure> {
    let OrderTime::Confirm { connection } = command;
    let request = AdminConfirmOrderTimeRequest {};
    let answer = call(context, &connection, admin_service::CONFIRM_ORDER_TIME, &request).await?;
    if connection.json {
        let line = serde_json::json!({ "groups": answer.groups, "silent": answer.silent });
        crate::output::json(context, &line)?;
        return Ok(());
    }
    writeln!(context.stdout, "order time goes on in {} groups that were held", answer.groups)?;
    for node in answer.silent {
        writeln!(context.stdout, "{node} does not answer")?;
    }
    Ok(())
}

pub(crate) async fn datacenters(command: Datacenters, context: &mut Context) -> Result<(), Failure> {
    let (datacenter, lost, connection) = match command {
        Datacenters::DeclareLost { datacenter, connection } => (datacenter, true, connection),
        Datacenters::DeclareFound { datacenter, connection } => (datacenter, false, connection),
    };
    let request = DeclareDatacenterRequest { datacenter: datacenter.clone(), lost };
    call(context, &connection, admin_service::DECLARE_DATACENTER, &request).await?;
    if connection.json {
        crate::output::json(context, &serde_json::json!({ "datacenter": datacenter, "lost": lost }))?;
    } else if lost {
        writeln!(context.stdout, "{datacenter} is declared lost: what expires does not wait for it")?;
    } else {
        writeln!(context.stdout, "{datacenter} is there again: what expires waits until it has it")?;
    }
    Ok(())
}
