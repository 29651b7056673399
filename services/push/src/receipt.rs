//! GetReceipt: what became of a push, through any datacenter.

use tokio::time::Instant;
use trunkline_ports::Host;
use trunkline_types::Receipt;
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_wire::Status;
use trunkline_wire::status::{invalid, reason, unavailable};
use trunkline_wire::v1::{GetReceiptResponse, ReceiptState};

use crate::replicas::{self, Known};

/// Reads a receipt's text and says what its replicas know of it.
pub(crate) async fn get(host: &Host, text: &str, deadline: Instant) -> Result<GetReceiptResponse, Status> {
    let receipt = Receipt::from_text(text).map_err(|error| invalid("receipt", error.to_string()))?;
    let map = host.map();
    if receipt.cluster != map.cluster {
        return Err(invalid("receipt", "is of another cluster"));
    }
    if u32::from(receipt.log.bucket.0) >= map.buckets {
        return Err(invalid("receipt", "names a bucket that is not there"));
    }
    let known =
        replicas::ask(host, &receipt, deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(deadline)).await;
    answer(&receipt, &known)
}

fn answer(receipt: &Receipt, known: &Known) -> Result<GetReceiptResponse, Status> {
    let state = match known.decided {
        _ if known.duplicate => ReceiptState::Duplicate,
        _ if known.expired => ReceiptState::Expired,
        Some(id) if id.0 == 0 => ReceiptState::TopicDeleted,
        Some(_) => ReceiptState::Ordered,
        None if known.never_stored => ReceiptState::NeverStored,
        // Those that do not answer may know of its ID; what is on some disk has an ID to come all the same.
        None if !known.on_disk.is_empty() || known.answered == known.asked => ReceiptState::Pending,
        None => {
            let message = format!(
                "only {} of {} replicas answer, and none of them has it",
                known.answered, known.asked
            );
            return Err(unavailable(reason::UNREACHABLE, message));
        }
    };
    Ok(GetReceiptResponse {
        state: state.into(),
        topic_id: receipt.topic.0,
        message_id: known.decided.map_or(0, |id| id.0),
        datacenters: known.datacenters(),
    })
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Boot, ClusterId, Lane, LogName, MessageId, NodeId, Ordinal, Sequence, TopicId};
    use trunkline_wire::Code;

    use super::*;

    fn receipt() -> Receipt {
        let topic = TopicId(1 << 16 | 3);
        let boot = Boot { counter: 1, random: 1 };
        let log =
            LogName { bucket: topic.bucket(), node: NodeId(1), boot, lane: Lane(0), ordinal: Ordinal(1) };
        Receipt { cluster: ClusterId(1), topic, log, sequence: Sequence(1), checksum: 0 }
    }

    #[test]
    fn the_state_is_what_replicas_say_together() {
        let none = Known { answered: 6, asked: 6, ..Known::default() };
        let disk = Known { on_disk: ["nyc".into()].into(), answered: 1, ..none.clone() };
        let table = [
            (none.clone(), Some(ReceiptState::Pending)),
            (Known { answered: 5, ..none.clone() }, None),
            (disk.clone(), Some(ReceiptState::Pending)),
            (Known { decided: Some(MessageId(7)), ..disk.clone() }, Some(ReceiptState::Ordered)),
            (Known { decided: Some(MessageId(0)), ..disk.clone() }, Some(ReceiptState::TopicDeleted)),
            (Known { duplicate: true, ..disk.clone() }, Some(ReceiptState::Duplicate)),
            (Known { expired: true, answered: 1, ..none.clone() }, Some(ReceiptState::Expired)),
            (
                Known { expired: true, decided: Some(MessageId(7)), answered: 1, ..none.clone() },
                Some(ReceiptState::Expired),
            ),
            (Known { never_stored: true, answered: 1, ..none }, Some(ReceiptState::NeverStored)),
        ];
        for (known, state) in table {
            match (answer(&receipt(), &known), state) {
                (Ok(answer), Some(state)) => assert_eq!(answer.state(), state, "{known:?}"),
                (Err(error), None) => assert_eq!(error.code(), Code::Unavailable),
                (other, _) => panic!("{known:?}: {other:?}"),
            }
        }
    }
}
