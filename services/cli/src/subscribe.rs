//! `trunkline subscribe`.

use std::time::Duration;

use serde::Serialize;
use trunkline_client::api::{AckMode, DeadLetter, Retry, Subscription, SubscriptionOptions};

use crate::args::{Connection, StartAt, duration};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline subscribe orders billing                   # what is pushed from now on
  trunkline subscribe orders audit --from earliest
  trunkline subscribe orders replay --from 1000
  trunkline subscribe orders billing --ack-mode explicit --retry 1s..5m --dead-letter orders-dead --attempts 10";

/// What `trunkline subscribe` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    consumer: String,
    /// Where to begin: earliest, latest or a message ID
    #[arg(long, value_name = "ID", default_value = "latest")]
    from: StartAt,
    /// What is not acknowledged comes again after it [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ack_deadline: Option<Duration>,
    /// How messages are acknowledged
    #[arg(long, value_enum, value_name = "MODE", default_value = "on-next-pop")]
    ack_mode: Mode,
    /// When what was given back or is overdue comes again: doubled each time, from MIN to MAX [default: at once]
    #[arg(long, value_name = "MIN..MAX", value_parser = retry)]
    retry: Option<Retry>,
    /// Where messages go that nobody can process
    #[arg(long, value_name = "TOPIC")]
    dead_letter: Option<String>,
    /// After so many deliveries
    #[arg(long, value_name = "N", requires = "dead_letter", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// By the next pop, which says what it has got
    OnNextPop,
    /// By Ack and nothing else
    Explicit,
    /// Before they are delivered: at most once
    Immediate,
}

impl From<Mode> for AckMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::OnNextPop => Self::OnNextPop,
            Mode::Explicit => Self::Explicit,
            Mode::Immediate => Self::Immediate,
        }
    }
}

/// `1s..5m`; one time is both.
fn retry(text: &str) -> Result<Retry, String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let part = |text| prost_types::Duration::try_from(duration(text)?).map_err(|error| error.to_string());
    Ok(Retry { min: Some(part(min)?), max: Some(part(max)?) })
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
    let dead_letter = args.dead_letter.map(|topic| DeadLetter { topic, attempts: args.attempts });
    let options = SubscriptionOptions {
        start: Some(args.from.start()),
        ack_deadline,
        ack_mode: AckMode::from(args.ack_mode).into(),
        retry: args.retry,
        dead_letter,
    };
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
