//! The client commands of the trunkline binary: everything but `dev`, `serve` and `cluster`.
//!
//! - [`Command`]: what can be asked, for clap.
//! - [`run`]: does it over a [`Context`] and says how the process should exit.
//!
//! One file per command. People get tables and sentences; with `--json` programs get one object per line.

mod admin;
mod args;
mod bench;
mod context;
mod failure;
mod input;
mod lag;
mod messages;
mod oldest;
mod output;
mod pop;
mod push;
mod seek;
mod status;
mod subscribe;
mod subscriptions;
mod tail;
#[cfg(test)]
mod tests;
mod topics;

use clap::Subcommand;

pub use args::{Acks, Connection, Level};
pub use context::{Context, Exit};

/// A client command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Push messages to a topic, which is created if need be
    #[command(after_help = push::EXAMPLES)]
    Push(push::Args),
    /// Pop messages of a subscription and acknowledge them
    #[command(after_help = pop::EXAMPLES)]
    Pop(pop::Args),
    /// Print a topic's messages as they become readable, without a subscription
    #[command(after_help = tail::EXAMPLES)]
    Tail(tail::Args),
    /// Create a subscription: from then on its messages wait for the consumer
    #[command(after_help = subscribe::EXAMPLES)]
    Subscribe(subscribe::Args),
    /// List, create, describe and delete topics
    #[command(subcommand)]
    Topics(topics::Command),
    /// Take a subscription to another place, back or forward
    #[command(after_help = seek::EXAMPLES)]
    Seek(seek::Args),
    /// Print the oldest message of a topic, or the oldest that a consumer has not acknowledged
    #[command(after_help = oldest::EXAMPLES)]
    Oldest(oldest::Args),
    /// List, describe, update and delete subscriptions
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    /// Show how far consumers are behind
    #[command(after_help = lag::EXAMPLES)]
    Lag(lag::Args),
    /// Show nodes, Raft leaders and replication between datacenters
    #[command(after_help = status::EXAMPLES)]
    Status(status::Args),
    /// dev only: cut a datacenter's links to the others
    #[command(after_help = admin::CUT_EXAMPLES)]
    Cut(admin::DatacenterArgs),
    /// dev only: make a datacenter's links whole again
    #[command(after_help = admin::CUT_EXAMPLES)]
    Heal(admin::DatacenterArgs),
    /// dev only: stop a node as kill -9 would
    #[command(after_help = admin::STOP_EXAMPLES)]
    Stop(admin::NodeArgs),
    /// dev only: start a node again on what is on its disk
    #[command(after_help = admin::STOP_EXAMPLES)]
    Start(admin::NodeArgs),
    /// Measure push, pop and visible latency under load
    #[command(after_help = bench::EXAMPLES)]
    Bench(Box<bench::Args>),
}

/// Does what was asked. Errors are told on standard error.
pub async fn run(command: Command, mut context: Context) -> Exit {
    let done = match command {
        Command::Push(args) => push::run(args, &mut context).await,
        Command::Pop(args) => pop::run(args, &mut context).await,
        Command::Tail(args) => tail::run(args, &mut context).await,
        Command::Subscribe(args) => subscribe::run(args, &mut context).await,
        Command::Topics(command) => topics::run(command, &mut context).await,
        Command::Seek(args) => seek::run(args, &mut context).await,
        Command::Oldest(args) => oldest::run(args, &mut context).await,
        Command::Subscriptions(command) => subscriptions::run(command, &mut context).await,
        Command::Lag(args) => lag::run(args, &mut context).await,
        Command::Status(args) => status::run(args, &mut context).await,
        Command::Cut(args) => admin::cut(args, &mut context).await,
        Command::Heal(args) => admin::heal(args, &mut context).await,
        Command::Stop(args) => admin::stop(args, &mut context).await,
        Command::Start(args) => admin::start(args, &mut context).await,
        Command::Bench(args) => bench::run(*args, &mut context).await,
    };
    context.finish(done)
}
