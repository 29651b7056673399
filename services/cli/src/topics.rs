//! `trunkline topics …`.

use std::collections::BTreeMap;

use serde::Serialize;
use trunkline_client::api::{AckLevel, ListTopicsRequest, Topic, TopicOptions};

use crate::args::{Acks, Connection, pair};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

/// What can be done with topics.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// All topics by name
    #[command(
        after_help = "Examples:\n  trunkline topics list\n  trunkline topics list --prefix orders --json"
    )]
    List {
        /// Only names that begin so
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Create a topic; creating it again with the same options is fine
    #[command(
        after_help = "Examples:\n  trunkline topics create orders\n  trunkline topics create orders --ack ordered --label team=billing"
    )]
    Create {
        topic: String,
        #[command(flatten)]
        acks: Acks,
        /// The largest payload, in bytes [default: 1048576]
        #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
        message_bytes_max: u64,
        /// A label; may be given several times
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        connection: Connection,
    },
    /// One topic's options, and how far it can be read
    #[command(
        after_help = "Examples:\n  trunkline topics describe orders\n  trunkline topics describe orders --dc sea --json"
    )]
    Describe {
        topic: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// End a topic; one created later under the same name is another one
    #[command(after_help = "Examples:\n  trunkline topics delete orders")]
    Delete {
        topic: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    topic_id: u64,
    default_ack_level: &'a str,
    message_bytes_max: u64,
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Deleted<'a> {
    topic: &'a str,
    deleted: bool,
}

pub(crate) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::List { prefix, connection } => list(prefix, &connection, context).await,
        Command::Create { topic, acks, message_bytes_max, labels, connection } => {
            let options = TopicOptions {
                default_ack_level: acks.level().into(),
                message_bytes_max,
                labels: labels.into_iter().collect(),
            };
            let topic = context.client(&connection)?.create_topic(&topic, options).await?;
            describe(context, &connection, &topic, None)
        }
        Command::Describe { topic, connection } => {
            let answer = context.client(&connection)?.topic(&topic).await?;
            let found = answer.topic.unwrap_or_default();
            describe(context, &connection, &found, Some(answer.watermark))
        }
        Command::Delete { topic, connection } => {
            context.client(&connection)?.delete_topic(&topic).await?;
            if connection.json {
                output::json(context, &Deleted { topic: &topic, deleted: true })?;
            } else {
                writeln!(context.stdout, "topic {topic} is deleted")?;
            }
            Ok(())
        }
    }
}

async fn list(prefix: String, connection: &Connection, context: &mut Context) -> Result<(), Failure> {
    let client = context.client(connection)?;
    let mut request = ListTopicsRequest { prefix, ..ListTopicsRequest::default() };
    let mut table = output::table(&["topic", "id", "ack"], &[1]);
    loop {
        let page = client.list_topics(&request).await?;
        for topic in &page.topics {
            let options = topic.options.clone().unwrap_or_default();
            if connection.json {
                output::json(context, &line(topic, &options, None))?;
            } else {
                table.add_row([topic.name.clone(), topic.topic_id.to_string(), level(&options).to_owned()]);
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if !connection.json {
        output::print(context, &table)?;
    }
    Ok(())
}

fn describe(
    context: &mut Context,
    connection: &Connection,
    topic: &Topic,
    watermark: Option<u64>,
) -> Result<(), Failure> {
    let options = topic.options.clone().unwrap_or_default();
    let line = line(topic, &options, watermark);
    if connection.json {
        output::json(context, &line)?;
        return Ok(());
    }
    let mut rows = vec![
        ("topic", line.topic.to_owned()),
        ("id", line.topic_id.to_string()),
        ("default ack level", line.default_ack_level.to_owned()),
        ("largest message", format!("{} bytes", line.message_bytes_max)),
    ];
    rows.extend(watermark.map(|id| ("readable up to message", id.to_string())));
    for (name, value) in rows {
        writeln!(context.stdout, "{name:<24}{value}")?;
    }
    for (name, value) in line.labels {
        let (name, value) = (output::visible(name), output::visible(value));
        writeln!(context.stdout, "{:<24}{name}={value}", "label")?;
    }
    Ok(())
}

fn line<'a>(topic: &'a Topic, options: &'a TopicOptions, watermark: Option<u64>) -> Line<'a> {
    Line {
        topic: &topic.name,
        topic_id: topic.topic_id,
        default_ack_level: level(options),
        message_bytes_max: match options.message_bytes_max {
            0 => trunkline_types::limits::PAYLOAD_BYTES_MAX,
            bytes => bytes,
        },
        labels: &options.labels,
        watermark,
    }
}

fn level(options: &TopicOptions) -> &'static str {
    match options.default_ack_level() {
        AckLevel::None => "none",
        AckLevel::Unspecified | AckLevel::Local => "local",
        AckLevel::Ordered => "ordered",
        AckLevel::Everywhere => "everywhere",
    }
}
