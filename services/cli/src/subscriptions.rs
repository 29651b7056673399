//! `trunkline subscriptions …`.

use std::time::Duration;

use serde::Serialize;
use trunkline_client::Client;
use trunkline_client::api::{
    ListSubscriptionsRequest, Subscription, SubscriptionOptions, SubscriptionStatus,
    UpdateSubscriptionRequest,
};

use crate::args::{Connection, duration};
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
    /// Change what it was created with; deliveries under way stay
    #[command(after_help = "Examples:\n  trunkline subscriptions update orders billing --ack-deadline 2m")]
    Update {
        topic: String,
        consumer: String,
        /// What is not acknowledged comes again after it
        #[arg(long, value_name = "TIME", value_parser = duration)]
        ack_deadline: Option<Duration>,
        #[command(flatten)]
        connection: Connection,
    },
    /// End a subscription and forget its position; one created later under the same name is another one
    #[command(after_help = "Examples:\n  trunkline subscriptions delete orders billing")]
    Delete {
        topic: String,
        consumer: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Serialize)]
struct Deleted<'a> {
    topic: &'a str,
    consumer: &'a str,
    deleted: bool,
}

/// A subscription and how far it is, as programs read it.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    pub(crate) topic: String,
    pub(crate) consumer: String,
    pub(crate) position: u64,
    pub(crate) generation: u64,
    pub(crate) outstanding: u64,
    pub(crate) lag_messages: u64,
    /// By order time; absent where nobody who knows has answered.
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) oldest_unacknowledged: Option<u64>,
    pub(crate) dispatching_datacenter: Option<String>,
}

impl Detail {
    pub(crate) fn new(subscription: Subscription, status: SubscriptionStatus) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
        let seconds = |lag: prost_types::Duration| lag.seconds as f64 + f64::from(lag.nanos) / 1e9;
        Self {
            topic: subscription.topic,
            consumer: subscription.consumer,
            position: subscription.position,
            generation: subscription.generation,
            outstanding: status.outstanding,
            lag_messages: status.lag_messages,
            lag_seconds: status.lag_time.map(|lag| output::round(seconds(lag))),
            oldest_unacknowledged: Some(status.oldest_unacknowledged).filter(|&id| id > 0),
            dispatching_datacenter: Some(status.dispatching_datacenter).filter(|name| !name.is_empty()),
        }
    }

    /// For people: whole milliseconds.
    pub(crate) fn lag(&self) -> String {
        self.lag_seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.3}s"))
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
            let answer = client.subscription(&topic, &consumer).await?;
            let (subscription, status) = (answer.subscription.unwrap_or_default(), answer.status);
            let options = subscription.options.unwrap_or_default();
            let detail = Detail::new(subscription, status.unwrap_or_default());
            describe(context, connection.json, &detail, &options)
        }
        Command::Update { topic, consumer, ack_deadline, connection } => {
            update(topic, consumer, ack_deadline, &connection, context).await
        }
        Command::Delete { topic, consumer, connection } => {
            context.client(&connection)?.delete_subscription(&topic, &consumer).await?;
            if connection.json {
                output::json(context, &Deleted { topic: &topic, consumer: &consumer, deleted: true })?;
            } else {
                writeln!(context.stdout, "{consumer} is not subscribed to {topic} any more")?;
            }
            Ok(())
        }
    }
}

async fn update(
    topic: String,
    consumer: String,
    ack_deadline: Option<Duration>,
    connection: &Connection,
    context: &mut Context,
) -> Result<(), Failure> {
    let Some(ack_deadline) = ack_deadline else {
        return Err(Failure::Usage("name what is to change: --ack-deadline".to_owned()));
    };
    let ack_deadline = prost_types::Duration::try_from(ack_deadline);
    let ack_deadline = ack_deadline.map_err(|error| Failure::Usage(error.to_string()))?;
    let options = SubscriptionOptions { ack_deadline: Some(ack_deadline), ..SubscriptionOptions::default() };
    let request = UpdateSubscriptionRequest { topic, consumer, options: Some(options), update_mask: None };
    let updated = context.client(connection)?.update_subscription(&request).await?;
    if connection.json {
        output::json(context, &subscribe::Line::new(&updated))?;
    } else {
        let options = updated.options.unwrap_or_default();
        writeln!(context.stdout, "{} of {}: {}", updated.consumer, updated.topic, in_words(&options))?;
    }
    Ok(())
}

fn in_words(options: &SubscriptionOptions) -> String {
    let deadline = options.ack_deadline.and_then(|deadline| Duration::try_from(deadline).ok());
    format!("ack deadline {}", humantime::format_duration(deadline.unwrap_or_default()))
}

fn describe(
    context: &mut Context,
    json: bool,
    detail: &Detail,
    options: &SubscriptionOptions,
) -> Result<(), Failure> {
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
        ("seeks", detail.generation.to_string()),
        ("options", in_words(options)),
    ] {
        writeln!(context.stdout, "{name:<24}{value}")?;
    }
    Ok(())
}

/// Every page.
async fn all(client: &Client, topic: &str, consumer: &str) -> Result<Vec<Subscription>, Failure> {
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
