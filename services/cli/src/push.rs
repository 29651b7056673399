//! `trunkline push`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ArgGroup;
use serde::Serialize;
use tokio::sync::mpsc;
use trunkline_client::api::Message;
use trunkline_client::{Client, Outcome, Pending, StreamOptions};
use trunkline_types::limits::PAYLOAD_INLINE_BYTES_MAX;
use trunkline_wire::status::is_not_stored;

use crate::args::{Acks, Connection, pair};
use crate::context::Context;
use crate::failure::{Failure, code_name, describe_push};
use crate::files::FileSource;
use crate::{input, output};

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline push orders 'hello'
  trunkline push orders --file order.json --key customer-7 --attribute kind=order
  trunkline push films --file film.mkv             # up to 100,000,000 bytes
  trunkline push orders 'hello' --dc sea --ack ordered --json
  seq 1000 | trunkline push numbers --lines";

/// Failures that are told one by one.
const FAILURES_TOLD_MAX: u64 = 10;

/// What `trunkline push` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "trunkline push <TOPIC> [MESSAGE] [--file F | --lines] [OPTIONS]")]
#[command(group = ArgGroup::new("what").required(true).args(["message", "file", "lines"]))]
pub struct Args {
    /// The topic, [A-Za-z0-9._-]{1,255}
    topic: String,
    /// The payload, as text
    message: Option<String>,
    /// Take the payload from a file
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,
    /// Push each line of standard input, in order, over one stream
    #[arg(long)]
    lines: bool,
    /// Messages with the same key belong together
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// An attribute; may be given several times
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair)]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    acks: Acks,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    receipt: Option<&'a str>,
    message_id: Option<u64>,
}

#[derive(Debug, Serialize)]
struct FailedLine<'a> {
    topic: &'a str,
    receipt: Option<&'a str>,
    message_id: Option<u64>,
    error: &'a str,
    code: &'a str,
    /// Absent where it may have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<&'a str>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client(&args.connection)?;
    if args.lines {
        return lines(&args, &client, context).await;
    }
    let level = args.acks.level();
    let outcome = match (&args.message, &args.file) {
        (Some(text), _) => {
            client.push_one(&args.topic, args.message_of(text.clone().into_bytes()), level).await
        }
        (None, Some(file)) => {
            let unread = |error| Failure::Usage(format!("{}: {error}", file.display()));
            match FileSource::open(file, PAYLOAD_INLINE_BYTES_MAX as u64).map_err(unread)? {
                Some(source) => {
                    client.push_large(&args.topic, args.message_of(Vec::new()), source, level).await
                }
                None => {
                    let payload = std::fs::read(file).map_err(unread)?;
                    client.push_one(&args.topic, args.message_of(payload), level).await
                }
            }
        }
        (None, None) => return Err(Failure::Usage("a message is missing".to_owned())),
    };
    tell(context, &args, &outcome)?;
    let Err(failure) = outcome else { return Ok(()) };
    Err(match Failure::from(failure.status.clone()) {
        usage @ Failure::Usage(_) => usage,
        _ => Failure::Failed(describe_push(&failure)),
    })
}

impl Args {
    fn message_of(&self, payload: Vec<u8>) -> Message {
        let attributes: BTreeMap<_, _> = self.attributes.iter().cloned().collect();
        Message { payload: payload.into(), key: self.key.clone(), attributes }
    }
}

/// Prints one result. Failures are told to people elsewhere; their receipts are here.
fn tell(context: &mut Context, args: &Args, outcome: &Outcome) -> Result<(), Failure> {
    let topic = args.topic.as_str();
    match outcome {
        Ok(pushed) if args.connection.json => {
            let receipt = Some(pushed.receipt.as_str()).filter(|receipt| !receipt.is_empty());
            output::json(context, &Line { topic, receipt, message_id: pushed.message_id })?;
        }
        Ok(_) if args.lines => {}
        Ok(pushed) => {
            let id = pushed.message_id.map(|id| format!(" as message {id}")).unwrap_or_default();
            writeln!(context.stdout, "pushed to {topic}{id}")?;
            if !pushed.receipt.is_empty() {
                writeln!(context.stdout, "receipt {}", pushed.receipt)?;
            }
        }
        Err(failure) if args.connection.json => {
            let (error, code) = (failure.status.message(), code_name(failure.status.code()));
            let stored = is_not_stored(&failure.status).then_some("no");
            let receipt = failure.receipt.as_deref();
            output::json(context, &FailedLine { topic, receipt, message_id: None, error, code, stored })?;
        }
        Err(failure) => {
            if let Some(receipt) = &failure.receipt {
                writeln!(context.stdout, "receipt {receipt}")?;
            }
        }
    }
    Ok(())
}

/// Each line of standard input, over one stream; results in the order of the lines.
async fn lines(args: &Args, client: &Client, context: &mut Context) -> Result<(), Failure> {
    let input =
        context.stdin.take().ok_or_else(|| Failure::Usage("standard input is not there".to_owned()))?;
    let options = StreamOptions { level: args.acks.level(), reopen: true, ..StreamOptions::default() };
    let stream = client.push_stream(&args.topic, options);
    let (sent, mut pending) = mpsc::channel::<Pending>(options.window);
    let mut lines = input::lines(input);
    let sending = async move {
        while let Some(line) = lines.recv().await {
            let line = line?;
            let one = stream.send(args.message_of(line)).await?;
            if sent.send(one).await.is_err() {
                break;
            }
        }
        Ok::<_, Failure>(())
    };
    let (mut pushed, mut failed) = (0u64, 0u64);
    let telling = async {
        while let Some(one) = pending.recv().await {
            let outcome = one.outcome().await;
            tell(context, args, &outcome)?;
            match outcome {
                Ok(_) => pushed += 1,
                Err(failure) => {
                    failed += 1;
                    if failed <= FAILURES_TOLD_MAX {
                        let line = pushed + failed;
                        context.note(&format!("trunkline: line {line}: {}", describe_push(&failure)));
                    }
                }
            }
        }
        Ok::<_, Failure>(())
    };
    // Both go on to their end: what was sent before a failure still has its result.
    let (sending, telling) = futures::join!(sending, telling);
    if !args.connection.json {
        writeln!(context.stdout, "pushed {pushed} messages to {}", args.topic)?;
    }
    telling.and(sending)?;
    if failed > 0 {
        context.note(&format!("trunkline: {failed} of {} messages failed", pushed + failed));
        return Err(Failure::Told);
    }
    Ok(())
}
