//! `trunkline pop`.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_client::Subscriber;
use trunkline_client::api::PopResponse;
use trunkline_types::limits::POP_MESSAGES_MAX;

use crate::args::{Connection, duration};
use crate::context::Context;
use crate::failure::Failure;
use crate::messages;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline subscribe orders billing
  trunkline pop orders billing
  trunkline pop orders billing --max 100 --wait 5s --json
  trunkline pop orders billing --no-ack        # look, and leave it for the next";

/// What `trunkline pop` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    consumer: String,
    /// Messages at most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
    /// How long to wait for a first message
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    wait: Duration,
    /// Leave what was printed: it comes again after the ack deadline
    #[arg(long)]
    no_ack: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if args.no_ack && args.max > POP_MESSAGES_MAX as u64 {
        return Err(Failure::Usage(format!("--max is at most {POP_MESSAGES_MAX} with --no-ack")));
    }
    let mut subscriber = context.client(&args.connection)?.subscriber(&args.topic, &args.consumer);
    let until = Instant::now() + args.wait;
    let mut popped = 0;
    while popped < args.max {
        let most = (args.max - popped).min(POP_MESSAGES_MAX as u64);
        // Only for the first message; a longer wait than one call may take is several calls.
        let wait = if popped == 0 { until.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
        let response = match subscriber.pop(u32::try_from(most).unwrap_or(u32::MAX), wait).await {
            Ok(response) => response,
            Err(error) => {
                // What was printed is acknowledged all the same; if even that fails, the first error says why.
                if !args.no_ack && popped > 0 {
                    let _ = subscriber.ack().await;
                }
                return Err(error.into());
            }
        };
        let is_empty = response.deliveries.is_empty();
        popped += response.deliveries.len() as u64;
        print(&args, context, &mut subscriber, &response).await?;
        let is_last = if is_empty { popped > 0 || Instant::now() >= until } else { args.no_ack };
        if is_last {
            break;
        }
    }
    if !args.no_ack {
        subscriber.ack().await?;
    }
    if popped == 0 && !args.connection.json {
        context.note("nothing to deliver");
    }
    Ok(())
}

/// What could not be printed is not acknowledged.
async fn print(
    args: &Args,
    context: &mut Context,
    subscriber: &mut Subscriber,
    response: &PopResponse,
) -> Result<(), Failure> {
    let json = args.connection.json;
    let mut failed = None;
    let mut printed = 0;
    for range in &response.expired {
        messages::print_expired(context, json, &args.topic, range)?;
    }
    for delivery in &response.deliveries {
        let Some(message) = &delivery.message else { continue };
        if let Err(error) = messages::print(context, json, &args.topic, message, Some(delivery.attempt)) {
            failed = Some(error);
            break;
        }
        printed += 1;
    }
    if let Some(error) = context.stdout.flush().err() {
        // A buffer was lost: none of this batch is known to have been seen.
        (failed, printed) = (Some(failed.unwrap_or(error)), 0);
    }
    match failed {
        None => Ok(()),
        Some(error) => {
            if !args.no_ack && printed > 0 {
                subscriber.ack_first(printed).await?;
            }
            Err(error.into())
        }
    }
}
