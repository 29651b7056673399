//! `trunkline lag`.

use futures::stream::{self, StreamExt as _};

use trunkline_client::{Client, Code};

use crate::args::Connection;
use crate::context::Context;
use crate::failure::{Failure, describe};
use crate::output;
use crate::subscriptions::{Detail, all};

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline lag
  trunkline lag orders
  trunkline lag orders billing --dc sea --json";

/// Subscriptions that are asked for at the same time.
const AT_ONCE: usize = 16;

/// What `trunkline lag` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Of this topic only
    #[arg(default_value = "", hide_default_value = true)]
    topic: String,
    /// Of this consumer only
    #[arg(default_value = "", hide_default_value = true)]
    consumer: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client(&args.connection)?;
    let subscriptions = all(&client, &args.topic, &args.consumer).await?;
    if subscriptions.is_empty() {
        is_there(&client, &args).await?;
    }
    let details = subscriptions.iter().map(|one| client.subscription(&one.topic, &one.consumer));
    let mut details = stream::iter(details).buffered(AT_ONCE);
    let headings = ["topic", "consumer", "position", "outstanding", "lag", "lag time", "dispatched in"];
    let mut table = output::table(&headings, &[2, 3, 4, 5]);
    let mut failed = false;
    while let Some(answer) = details.next().await {
        let detail = match answer {
            Ok(answer) => Detail::new(answer),
            // It ended between the list and the question, perhaps with its topic.
            Err(status) if status.code() == Code::NotFound => continue,
            Err(status) => {
                failed = true;
                context.note(&format!("trunkline: {}", describe(&status)));
                continue;
            }
        };
        if args.connection.json {
            output::json(context, &detail)?;
            continue;
        }
        let (lag, at) = (detail.lag(), detail.dispatching_datacenter.unwrap_or_else(|| "-".to_owned()));
        let numbers = [detail.position, detail.outstanding, detail.lag_messages].map(|n| n.to_string());
        let [position, outstanding, messages] = numbers;
        table.add_row([detail.topic, detail.consumer, position, outstanding, messages, lag, at]);
    }
    if !args.connection.json {
        output::print(context, &table)?;
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

/// A topic without subscriptions has an empty table; one that is not there has none, and whoever misspelled it hears so.
async fn is_there(client: &Client, args: &Args) -> Result<(), Failure> {
    match (args.topic.as_str(), args.consumer.as_str()) {
        ("", "") => {}
        ("", consumer) => {
            return Err(Failure::Failed(format!("consumer {consumer} has no subscription (NOT_FOUND)")));
        }
        (topic, "") => drop(client.topic(topic).await?),
        (topic, consumer) => drop(client.subscription(topic, consumer).await?),
    }
    Ok(())
}
