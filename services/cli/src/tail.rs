//! `trunkline tail`.

use std::time::Duration;

use trunkline_types::limits::READ_MESSAGES_MAX;
use trunkline_wire::convert::timestamp;

use crate::args::{Connection, StartAt};
use crate::context::Context;
use crate::failure::Failure;
use crate::messages;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline tail orders                          # what comes from now on
  trunkline tail orders --from earliest --dc sea
  trunkline tail orders --from 1000 --max 10 --json
  trunkline tail orders --from 10m               # what was ordered in the last ten minutes, and on
  trunkline tail orders --from 2027-01-15T08:00:00Z";

/// One read waits so long; then the next begins.
const WAIT: Duration = Duration::from_secs(20);

/// What `trunkline tail` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    /// Where to begin: earliest, latest, a message ID, a time or how long ago
    #[arg(long, value_name = "ID|TIME", default_value = "latest")]
    from: StartAt,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client(&args.connection)?;
    let mut next = match args.from {
        StartAt::Earliest => 0,
        StartAt::MessageId(id) => id,
        StartAt::Latest => client.topic(&args.topic).await?.watermark + 1,
        StartAt::Time(_) | StartAt::Ago(_) => 0,
    };
    let mut from_time = args.from.at_ms(context.process.wall_clock_ms()).map(timestamp::from_ms);
    let mut left = args.max.unwrap_or(u64::MAX);
    while left > 0 {
        let most = u32::try_from(left.min(READ_MESSAGES_MAX as u64)).unwrap_or(u32::MAX);
        let page = match from_time {
            Some(time) => client.read_from_time(&args.topic, time, most, WAIT).await?,
            None => client.read(&args.topic, next, most, WAIT).await?,
        };
        from_time = None;
        for range in &page.expired {
            messages::print_expired(context, args.connection.json, &args.topic, range)?;
        }
        for message in &page.messages {
            messages::print(context, args.connection.json, &args.topic, message, None)?;
        }
        context.stdout.flush()?;
        left = left.saturating_sub(page.messages.len() as u64);
        next = page.next.max(next);
    }
    Ok(())
}
