//! `trunkline consume`.

use tokio::time::Instant;
use trunkline_client::api::{ExpiredRange, Share};
use trunkline_client::{Acked, ConsumeOptions, Delivery, Event};

use crate::args::Connection;
use crate::context::Context;
use crate::failure::{Failure, describe};
use crate::messages;

pub(crate) const EXAMPLES: &str = "Examples:
  trunkline consume orders billing                     # messages as they come, until Ctrl-C
  trunkline consume orders billing --max 100 --json
  trunkline consume orders billing --share 0/4         # of four members, the first one's keys

What was printed is acknowledged. Several that consume under one name share the messages; each key is with one of them at
a time.";

/// Acknowledgements that are not answered yet; beyond it printing waits.
const ACKS_MAX: usize = 1_000;

/// What `trunkline consume` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    topic: String,
    consumer: String,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Only the keys of this member, counted from 0, of so many
    #[arg(long, value_name = "I/N", value_parser = share)]
    share: Option<Share>,
    #[command(flatten)]
    connection: Connection,
}

fn share(text: &str) -> Result<Share, String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((member, members)) if member < members => Ok(Share { member, members }),
        _ => Err(format!("{text:?} is not I/N with I below N: 0/4")),
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut interrupted = (context.interrupted)();
    let limit = u32::try_from(args.max.unwrap_or(100)).unwrap_or(100).min(100);
    let options = ConsumeOptions { messages_max: limit, share: args.share, ..ConsumeOptions::default() };
    let mut consumer = context.client(&args.connection)?.consume(&args.topic, &args.consumer, options);
    let (mut printed, mut acks) = (0, Vec::new());
    let done = loop {
        if args.max.is_some_and(|max| printed >= max) {
            break Ok(());
        }
        let event = tokio::select! {
            biased;
            () = &mut interrupted => break Err(Failure::Interrupted),
            event = consumer.next() => event,
        };
        let outcome = match event {
            Some(Ok(Event::Message(delivery))) => {
                printed += 1;
                print(&args, context, delivery).map(|acked| acks.push(acked))
            }
            Some(Ok(Event::Expired { from, to })) => {
                let range = ExpiredRange { from, to, ..ExpiredRange::default() };
                messages::print_expired(context, args.connection.json, &args.topic, &range)
                    .map_err(Failure::from)
            }
            Some(Err(status)) => Err(status.into()),
            None => break Ok(()),
        };
        if let Err(failure) = outcome {
            break Err(failure);
        }
        if acks.len() >= ACKS_MAX {
            settle(context, std::mem::take(&mut acks)).await;
        }
    };
    drop(consumer);
    settle(context, acks).await;
    done
}

/// Acknowledges it once it is out.
fn print(args: &Args, context: &mut Context, delivery: Delivery) -> Result<Acked, Failure> {
    let attempt = Some(delivery.attempt());
    messages::print(context, args.connection.json, &args.topic, delivery.received(), attempt)?;
    context.stdout.flush()?;
    Ok(delivery.ack())
}

/// Waits until it is known what was acknowledged.
async fn settle(context: &mut Context, acks: Vec<Acked>) {
    let until = Instant::now() + trunkline_types::limits::DEADLINE_DEFAULT;
    let mut failed = None;
    for acked in acks {
        match tokio::time::timeout_at(until, acked).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(describe(&error)),
            Err(_) => failed = Some("no answer".to_owned()),
        }
    }
    if let Some(why) = failed {
        context.note(&format!("trunkline: what was printed may come again: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_member_of_some() {
        assert_eq!(share("0/4"), Ok(Share { member: 0, members: 4 }));
        for wrong in ["4/4", "1", "a/b", "1/0"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
