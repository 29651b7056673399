//! `trunkline subscribe`.

use std::time::Duration;

use serde::Serialize;
use trunkline_client::api::{Subscription, SubscriptionOptions};

use crate::args::{Connection, StartAt, duration};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline subscribe orders billing                   # what is pushed from now on
  trunkline subscribe orders audit --from earliest
  trunkline subscribe orders replay --from 1000
  trunkline subscribe orders today --from 2027-01-15   # or --from 6h, for six hours ago";

/// What `trunkline subscribe` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    consumer: String,
    /// Where to begin: earliest, latest, a message ID, a time or how long ago
    #[arg(long, value_name = "ID|TIME", default_value = "latest")]
    from: StartAt,
    /// What is not acknowledged comes again after it [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ack_deadline: Option<Duration>,
    #[command(flatten)]
    connection: Connection,
}

/// A subscription as programs read it.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) topic: &'a str,
    pub(crate) consumer: &'a str,
    pub(crate) position: u64,
}

impl<'a> Line<'a> {
    pub(crate) fn new(subscription: &'a Subscription) -> Self {
        Self { topic: &subscription.topic, consumer: &subscription.consumer, position: subscription.position }
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client(&args.connection)?;
    let ack_deadline = args.ack_deadline.map(prost_types::Duration::try_from).transpose();
    let ack_deadline = ack_deadline.map_err(|error| Failure::Usage(error.to_string()))?;
    let now_ms = context.process.wall_clock_ms();
    let options = SubscriptionOptions { start: Some(args.from.start(now_ms)), ack_deadline };
    let subscription = client.subscribe(&args.topic, &args.consumer, options).await?;
    if args.connection.json {
        output::json(context, &Line::new(&subscription))?;
    } else {
        let next = subscription.position + 1;
        writeln!(context.stdout, "{} is subscribed to {} from message {next}", args.consumer, args.topic)?;
        writeln!(context.stdout, "next: trunkline pop {} {}", args.topic, args.consumer)?;
    }
    Ok(())
}
