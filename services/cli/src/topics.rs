//! `trunkline topics …`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use trunkline_client::api::{AckLevel, ListTopicsRequest, Topic, TopicOptions};

use crate::args::{Acks, Connection, duration, pair};
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
        kept: Kept,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change options of a topic; those that are not named stay
    #[command(
        after_help = "Examples:\n  trunkline topics update orders --retention-age 7d\n  trunkline topics update orders --retention-bytes 0 --ack ordered"
    )]
    Update {
        topic: String,
        #[command(flatten)]
        acks: Acks,
        /// The largest payload, in bytes; 0: the maximum
        #[arg(long, value_name = "BYTES")]
        message_bytes_max: Option<u64>,
        /// A label, instead of all that there are; may be given several times
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        kept: Kept,
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

/// How long messages are kept.
#[derive(Clone, Debug, clap::Args)]
pub struct Kept {
    /// Keep messages for so long, by order time, for example 12h or 30d [default: 100d]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    retention_age: Option<Duration>,
    /// Keep at least so many bytes of the newest messages, and not much more; 0: no limit
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// Keep what a subscription has not acknowledged beyond that, to this age at most; 0: not
    #[arg(long, value_name = "TIME", value_parser = duration)]
    retain_until_acknowledged: Option<Duration>,
}

impl Kept {
    /// Into options, and the names of what is given.
    fn put(&self, options: &mut TopicOptions, paths: &mut Vec<&str>) {
        let proto = |time: Duration| prost_types::Duration::try_from(time).ok();
        if let Some(age) = self.retention_age {
            options.retention_age = proto(age);
            paths.push("retention_age");
        }
        if let Some(bytes) = self.retention_bytes {
            options.retention_bytes = bytes;
            paths.push("retention_bytes");
        }
        if let Some(until) = self.retain_until_acknowledged {
            options.retain_until_acknowledged = proto(until).filter(|_| !until.is_zero());
            paths.push("retain_until_acknowledged");
        }
    }
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    topic_id: u64,
    default_ack_level: &'a str,
    message_bytes_max: u64,
    retention_age_seconds: u64,
    retention_bytes: u64,
    retain_until_acknowledged_seconds: u64,
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest: Option<u64>,
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
        Command::Create { topic, acks, message_bytes_max, labels, kept, connection } => {
            let mut options = TopicOptions {
                default_ack_level: acks.level().into(),
                message_bytes_max,
                labels: labels.into_iter().collect(),
                ..TopicOptions::default()
            };
            kept.put(&mut options, &mut Vec::new());
            let topic = context.client(&connection)?.create_topic(&topic, options).await?;
            describe(context, &connection, &topic, None)
        }
        Command::Update { topic, acks, message_bytes_max, labels, kept, connection } => {
            let (mut options, mut paths) = (TopicOptions::default(), Vec::new());
            if acks.ack.is_some() {
                options.default_ack_level = acks.level().into();
                paths.push("default_ack_level");
            }
            if let Some(bytes) = message_bytes_max {
                options.message_bytes_max = bytes;
                paths.push("message_bytes_max");
            }
            if !labels.is_empty() {
                options.labels = labels.into_iter().collect();
                paths.push("labels");
            }
            kept.put(&mut options, &mut paths);
            if paths.is_empty() {
                return Err(Failure::Usage("name at least one option to change".to_owned()));
            }
            let topic = context.client(&connection)?.update_topic(&topic, options, &paths).await?;
            describe(context, &connection, &topic, None)
        }
        Command::Describe { topic, connection } => {
            let answer = context.client(&connection)?.topic(&topic).await?;
            let found = answer.topic.unwrap_or_default();
            describe(context, &connection, &found, Some((answer.earliest, answer.watermark)))
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
    ends: Option<(u64, u64)>,
) -> Result<(), Failure> {
    let options = topic.options.clone().unwrap_or_default();
    let line = line(topic, &options, ends);
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
    let time = |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string();
    rows.push(("kept for", time(line.retention_age_seconds)));
    if line.retention_bytes > 0 {
        rows.push(("kept at most", format!("{} bytes", line.retention_bytes)));
    }
    if line.retain_until_acknowledged_seconds > 0 {
        rows.push(("unacknowledged kept for", time(line.retain_until_acknowledged_seconds)));
    }
    if let Some((earliest, watermark)) = ends {
        rows.push(("readable from message", earliest.to_string()));
        rows.push(("readable up to message", watermark.to_string()));
    }
    for (name, value) in rows {
        writeln!(context.stdout, "{name:<24}{value}")?;
    }
    for (name, value) in line.labels {
        let (name, value) = (output::visible(name), output::visible(value));
        writeln!(context.stdout, "{:<24}{name}={value}", "label")?;
    }
    Ok(())
}

fn line<'a>(topic: &'a Topic, options: &'a TopicOptions, ends: Option<(u64, u64)>) -> Line<'a> {
    let seconds = |time: Option<prost_types::Duration>| {
        time.and_then(|time| u64::try_from(time.seconds).ok()).unwrap_or_default()
    };
    let retention_age = seconds(options.retention_age);
    Line {
        topic: &topic.name,
        topic_id: topic.topic_id,
        default_ack_level: level(options),
        message_bytes_max: match options.message_bytes_max {
            0 => trunkline_types::limits::PAYLOAD_INLINE_BYTES_MAX as u64,
            bytes => bytes,
        },
        retention_age_seconds: match retention_age {
            0 => trunkline_types::limits::RETENTION_AGE_DEFAULT.as_secs(),
            seconds => seconds,
        },
        retention_bytes: options.retention_bytes,
        retain_until_acknowledged_seconds: seconds(options.retain_until_acknowledged),
        labels: &options.labels,
        earliest: ends.map(|(earliest, _)| earliest),
        watermark: ends.map(|(_, watermark)| watermark),
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
