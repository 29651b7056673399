//! `trunkline subscriptions …`.

use serde::Serialize;
use trunkline_client::Client;
use trunkline_client::api::{GetSubscriptionResponse, ListSubscriptionsRequest, Subscription};

use crate::args::Connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::subscribe;

/// What can be asked of subscriptions.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// All subscriptions by topic and consumer
    #[command(
        after_help = "Examples:\n  trunkline subscriptions list\n  trunkline subscriptions list --topic orders --json"
    )]
    List {
        /// Of this topic only
        #[arg(long, default_value = "", hide_default_value = true)]
        topic: String,
        /// Of this consumer only
        #[arg(long, default_value = "", hide_default_value = true)]
        consumer: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// One subscription: position, lag, who serves it
    #[command(after_help = "Examples:\n  trunkline subscriptions describe orders billing")]
    Describe {
        topic: String,
        consumer: String,
        #[command(flatten)]
        connection: Connection,
    },
}

/// A subscription and how far it is, as programs read it.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    pub(crate) topic: String,
    pub(crate) consumer: String,
    pub(crate) position: u64,
    pub(crate) outstanding: u64,
    pub(crate) lag_messages: u64,
    pub(crate) lag_seconds: f64,
    pub(crate) oldest_unacknowledged: Option<u64>,
    pub(crate) dispatching_datacenter: Option<String>,
}

impl Detail {
    pub(crate) fn new(answer: GetSubscriptionResponse) -> Self {
        let subscription = answer.subscription.unwrap_or_default();
        let status = answer.status.unwrap_or_default();
        let lag = status.lag_time.unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
        let lag_seconds = lag.seconds as f64 + f64::from(lag.nanos) / 1e9;
        Self {
            topic: subscription.topic,
            consumer: subscription.consumer,
            position: subscription.position,
            outstanding: status.outstanding,
            lag_messages: status.lag_messages,
            lag_seconds: output::round(lag_seconds),
            oldest_unacknowledged: Some(status.oldest_unacknowledged).filter(|&id| id > 0),
            dispatching_datacenter: Some(status.dispatching_datacenter).filter(|name| !name.is_empty()),
        }
    }

    /// For people: whole milliseconds.
    pub(crate) fn lag(&self) -> String {
        format!("{:.3}s", self.lag_seconds)
    }
}

pub(crate) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::List { topic, consumer, connection } => {
            let client = context.client(&connection)?;
            let all = all(&client, &topic, &consumer).await?;
            let mut table = output::table(&["topic", "consumer", "position"], &[2]);
            for subscription in &all {
                if connection.json {
                    output::json(context, &subscribe::Line::new(subscription))?;
                } else {
                    let Subscription { topic, consumer, position, .. } = subscription;
                    table.add_row([topic.clone(), consumer.clone(), position.to_string()]);
                }
            }
            if !connection.json {
                output::print(context, &table)?;
            }
            Ok(())
        }
        Command::Describe { topic, consumer, connection } => {
            let client = context.client(&connection)?;
            let detail = Detail::new(client.subscription(&topic, &consumer).await?);
            describe(context, connection.json, &detail)
        }
    }
}

fn describe(context: &mut Context, json: bool, detail: &Detail) -> Result<(), Failure> {
    if json {
        output::json(context, detail)?;
        return Ok(());
    }
    let none = || "-".to_owned();
    for (name, value) in [
        ("topic", detail.topic.clone()),
        ("consumer", detail.consumer.clone()),
        ("position", detail.position.to_string()),
        ("outstanding", detail.outstanding.to_string()),
        ("lag in messages", detail.lag_messages.to_string()),
        ("lag in time", detail.lag()),
        ("oldest unacknowledged", detail.oldest_unacknowledged.map_or_else(none, |id| id.to_string())),
        ("dispatched in", detail.dispatching_datacenter.clone().unwrap_or_else(none)),
    ] {
        writeln!(context.stdout, "{name:<24}{value}")?;
    }
    Ok(())
}

/// Every page.
pub(crate) async fn all(client: &Client, topic: &str, consumer: &str) -> Result<Vec<Subscription>, Failure> {
    let (topic, consumer) = (topic.to_owned(), consumer.to_owned());
    let mut request = ListSubscriptionsRequest { topic, consumer, ..ListSubscriptionsRequest::default() };
    let mut all = Vec::new();
    loop {
        let page = client.list_subscriptions(&request).await?;
        all.extend(page.subscriptions);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}
