//! `trunkline seek`.

use serde::Serialize;

use crate::args::{Connection, StartAt};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline seek orders billing --to 1000
  trunkline seek orders billing --to 2h          # what was ordered in the last two hours, again
  trunkline seek orders billing --to 2027-01-15T08:00:00Z
  trunkline seek orders billing --to latest      # skip what is there

What was popped before and is not acknowledged cannot be acknowledged any more. Other consumers do not notice.";

/// What `trunkline seek` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    consumer: String,
    /// Where to go on: earliest, latest, a message ID, a time or how long ago
    #[arg(long, value_name = "ID|TIME")]
    to: StartAt,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    consumer: &'a str,
    position: u64,
    generation: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let to = args.to.start(context.process.wall_clock_ms());
    let client = context.client(&args.connection)?;
    let sought = client.seek(&args.topic, &args.consumer, to).await?;
    let (topic, consumer) = (args.topic.as_str(), args.consumer.as_str());
    let (position, generation) = (sought.position, sought.generation);
    if args.connection.json {
        output::json(context, &Line { topic, consumer, position, generation })?;
    } else {
        writeln!(context.stdout, "{consumer} goes on in {topic} from message {}", position + 1)?;
    }
    Ok(())
}
