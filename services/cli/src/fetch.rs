//! `trunkline fetch`.

use std::path::PathBuf;

use serde::Serialize;

use crate::args::Connection;
use crate::context::Context;
use crate::failure::Failure;
use crate::{files, output};

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline push films --file film.mkv
  trunkline tail films --from earliest --max 1     # says which message it is
  trunkline fetch films 1 --output film.mkv --dc sea";

/// What `trunkline fetch` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    /// The message, as pop and tail say it
    message_id: u64,
    /// Where its payload goes
    #[arg(long, value_name = "F")]
    output: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    message_id: u64,
    bytes: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client(&args.connection)?;
    let (topic, message_id) = (args.topic.as_str(), args.message_id);
    let bytes = files::fetch(&client, topic, message_id, &args.output).await?;
    if args.connection.json {
        output::json(context, &Line { topic, message_id, bytes })?;
    } else {
        writeln!(context.stdout, "{bytes} bytes written to {}", args.output.display())?;
    }
    Ok(())
}
