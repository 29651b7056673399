//! `trunkline lag`.

use trunkline_client::Client;
use trunkline_client::api::{ListSubscriptionsRequest, Subscription};
use trunkline_wire::status::from_message;

use crate::args::Connection;
use crate::context::Context;
use crate::failure::{Failure, describe};
use crate::output;
use crate::subscriptions::Detail;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline lag
  trunkline lag orders
  trunkline lag orders billing --dc sea --json";

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
    let headings = ["topic", "consumer", "position", "outstanding", "lag", "lag time", "dispatched in"];
    let mut table = output::table(&headings, &[2, 3, 4, 5]);
    let mut request = ListSubscriptionsRequest {
        topic: args.topic.clone(),
        consumer: args.consumer.clone(),
        with_status: true,
        ..ListSubscriptionsRequest::default()
    };
    let (mut found, mut failed) = (false, false);
    loop {
        let page = client.list_subscriptions(&request).await?;
        for (subscription, status) in page.subscriptions.into_iter().zip(page.statuses) {
            found = true;
            if let Some(error) = &status.error {
                failed = true;
                let why = describe(&from_message(error));
                let Subscription { topic, consumer, .. } = subscription;
                context.note(&format!("trunkline: {consumer} of {topic}: {why}"));
                continue;
            }
            let detail = Detail::new(subscription, status);
            if args.connection.json {
                output::json(context, &detail)?;
                continue;
            }
            let (lag, at) = (detail.lag(), detail.dispatching_datacenter.unwrap_or_else(|| "-".to_owned()));
            let numbers = [detail.position, detail.outstanding, detail.lag_messages].map(|n| n.to_string());
            let [position, outstanding, messages] = numbers;
            table.add_row([detail.topic, detail.consumer, position, outstanding, messages, lag, at]);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if !found {
        is_there(&client, &args).await?;
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
