//! `trunkline pop`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_client::Subscriber;
use trunkline_client::api::PopResponse;
use trunkline_types::limits::POP_MESSAGES_MAX;

use crate::args::{Connection, duration};
use crate::context::Context;
use crate::failure::{Failure, describe};
use crate::{files, messages};

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline subscribe orders billing
  trunkline pop orders billing
  trunkline pop orders billing --max 100 --wait 5s --json
  trunkline pop films archive --output film.mkv   # whatever its size
  trunkline pop orders billing --no-ack        # look; it comes again after the ack deadline, the next pop gets others

Ctrl-C ends it once what was printed is acknowledged.";

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
    /// Write the one message's payload to a file
    #[arg(long, value_name = "F", conflicts_with = "max")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// What a run has come to.
#[derive(Debug, Default)]
struct Progress {
    popped: u64,
    /// Of what the last pop returned, from its first: exactly this is acknowledged at the end, however it comes.
    printed: usize,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if args.no_ack && args.max > POP_MESSAGES_MAX as u64 {
        return Err(Failure::Usage(format!("--max is at most {POP_MESSAGES_MAX} with --no-ack")));
    }
    let mut subscriber = context.client(&args.connection)?.subscriber(&args.topic, &args.consumer);
    let mut interrupted = (context.interrupted)();
    let mut progress = Progress::default();
    let mut done = tokio::select! {
        biased;
        done = pop(&args, context, &mut subscriber, &mut progress) => done,
        () = &mut interrupted => Err(Failure::Interrupted),
    };
    if !args.no_ack && progress.printed > 0 {
        let mut acking = std::pin::pin!(subscriber.ack_first(progress.printed));
        let acked = tokio::select! {
            biased;
            acked = &mut acking => acked,
            () = &mut interrupted, if !matches!(done, Err(Failure::Interrupted)) => {
                done = done.and(Err(Failure::Interrupted));
                acking.await
            }
        };
        done = match (done, acked) {
            (Ok(()), Err(error)) => Err(error.into()),
            (Err(failure), Err(error)) => {
                // The first failure says why it ends; this one, what that leaves behind.
                context.note(&format!("trunkline: what was printed may come again: {}", describe(&error)));
                Err(failure)
            }
            (done, Ok(())) => done,
        };
    }
    done?;
    if progress.popped == 0 && !args.connection.json {
        context.note("nothing to deliver");
    }
    Ok(())
}

/// May be dropped while it waits for a pop: what was printed is known in `progress`.
async fn pop(
    args: &Args,
    context: &mut Context,
    subscriber: &mut Subscriber,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let until = Instant::now() + args.wait;
    while progress.popped < args.max {
        let most = (args.max - progress.popped).min(POP_MESSAGES_MAX as u64);
        // Only for the first message; a longer wait than one call may take is several calls.
        let is_first = progress.popped == 0;
        let wait = if is_first { until.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
        let response = subscriber.pop(u32::try_from(most).unwrap_or(u32::MAX), wait).await?;
        let is_empty = response.deliveries.is_empty();
        progress.popped += response.deliveries.len() as u64;
        if let (Some(path), Some(delivery)) = (&args.output, response.deliveries.first()) {
            // Before it counts as printed: what cannot be written comes again.
            let client = context.client(&args.connection)?;
            files::save(&client, &args.topic, &delivery.message.clone().unwrap_or_default(), path).await?;
        }
        let (printed, failed) = print(args, context, &response);
        progress.printed = printed;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let is_last = if is_empty { progress.popped > 0 || Instant::now() >= until } else { args.no_ack };
        if is_last {
            break;
        }
    }
    Ok(())
}

/// How many of its deliveries were printed, and why not all.
fn print(args: &Args, context: &mut Context, response: &PopResponse) -> (usize, Option<io::Error>) {
    let json = args.connection.json;
    let mut printed = 0;
    let mut all = || {
        for range in &response.expired {
            messages::print_expired(context, json, &args.topic, range)?;
        }
        for delivery in &response.deliveries {
            if let Some(message) = &delivery.message {
                messages::print(context, json, &args.topic, message, Some(delivery.attempt))?;
            }
            printed += 1;
        }
        Ok(())
    };
    let failed = all().err();
    match context.stdout.flush() {
        Ok(()) => (printed, failed),
        // A buffer was lost: none of this batch is known to have been seen.
        Err(error) => (0, Some(failed.unwrap_or(error))),
    }
}
