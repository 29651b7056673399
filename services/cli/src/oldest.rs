//! `trunkline oldest`.

use std::time::Duration;

use crate::args::Connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::messages;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline oldest orders                # the first message that is still there
  trunkline oldest orders billing        # the first that billing has not acknowledged
  trunkline oldest orders billing --json";

/// What `trunkline oldest` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    /// Of what this consumer has not acknowledged
    consumer: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client(&args.connection)?;
    let mut from = 0;
    if let Some(consumer) = &args.consumer {
        let answer = client.subscription(&args.topic, consumer).await?;
        from = answer.status.unwrap_or_default().oldest_unacknowledged;
        if from == 0 {
            context.note(&format!("{consumer} has acknowledged every message of {}", args.topic));
            return Ok(());
        }
    }
    let page = client.read(&args.topic, from, 1, Duration::ZERO).await?;
    for range in &page.expired {
        messages::print_expired(context, args.connection.json, &args.topic, range)?;
    }
    match page.messages.first() {
        Some(message) => messages::print(context, args.connection.json, &args.topic, message, None)?,
        None => context.note(&format!("there is no message in {}", args.topic)),
    }
    Ok(())
}
