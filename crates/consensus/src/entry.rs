//! An entry as it is stored and sent: one byte that says what it is, then its content. Place and leader are beside it:
//! in the key and in the log's shape on disk, once per run in a message.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal;

use crate::convert;
use crate::raft::{Command, Entry, EntryPayload, LogId};

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// What a proposer gave, as it is stored.
pub(crate) fn command(content: &[u8]) -> Command {
    let mut bytes = BytesMut::with_capacity(content.len() + 1);
    bytes.put_u8(NORMAL);
    bytes.put_slice(content);
    Command(bytes.freeze())
}

/// What the proposer gave.
pub(crate) fn content(command: &Command) -> &[u8] {
    &command.0[1..]
}

pub(crate) fn encode(entry: &Entry) -> Bytes {
    match &entry.payload {
        EntryPayload::Blank => Bytes::from_static(&[BLANK]),
        EntryPayload::Normal(command) => command.0.clone(),
        EntryPayload::Membership(membership) => {
            let mut bytes = BytesMut::new();
            bytes.put_u8(MEMBERSHIP);
            bytes.put_slice(&convert::from_membership(membership).encode_to_vec());
            bytes.freeze()
        }
    }
}

pub(crate) fn decode(log_id: LogId, bytes: Bytes) -> Result<Entry, Malformed> {
    let payload = match bytes.first() {
        Some(&BLANK) => EntryPayload::Blank,
        Some(&NORMAL) => EntryPayload::Normal(Command(bytes)),
        Some(&MEMBERSHIP) => {
            let message = internal::RaftMembership::decode(bytes.slice(1..));
            let message = message.map_err(|_| Malformed("entry.membership"))?;
            EntryPayload::Membership(convert::to_membership(&message)?)
        }
        _ => return Err(Malformed("entry.kind")),
    };
    Ok(Entry { log_id, payload })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use trunkline_types::NodeId;

    use super::*;
    use crate::raft::{LeaderId, Membership};

    fn log_id() -> LogId {
        LogId::new(LeaderId { term: 3, node_id: NodeId(7) }, 9)
    }

    fn survives(payload: EntryPayload<Command, NodeId, ()>) -> Bytes {
        let entry = Entry { log_id: log_id(), payload };
        let bytes = encode(&entry);
        assert_eq!(decode(log_id(), bytes.clone()), Ok(entry));
        bytes
    }

    proptest! {
        #[test]
        fn a_proposed_entry_costs_one_byte_beside_its_content(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let stored = survives(EntryPayload::Normal(command(&bytes)));
            prop_assert_eq!(stored.len(), bytes.len() + 1);
            let stored = Command(stored);
            prop_assert_eq!(content(&stored), &bytes[..]);
        }

        #[test]
        fn a_membership_survives(voters in prop::collection::btree_set(any::<u64>().prop_map(NodeId), 1..9)) {
            survives(EntryPayload::Membership(Membership::new_with_defaults(vec![voters], [])));
        }
    }

    #[test]
    fn entries_are_these_bytes_and_others_are_refused() {
        assert_eq!(survives(EntryPayload::Blank)[..], [0]);
        assert_eq!(survives(EntryPayload::Normal(command(b"ab")))[..], [1, b'a', b'b']);
        let voters = BTreeSet::from([NodeId(1)]);
        let membership = survives(EntryPayload::Membership(Membership::new_with_defaults(vec![voters], [])));
        let golden = [2, 10, 10, 10, 8, 1, 0, 0, 0, 0, 0, 0, 0, 18, 8, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(membership[..], golden);
        assert_eq!(decode(log_id(), Bytes::from_static(&[9])), Err(Malformed("entry.kind")));
        assert_eq!(decode(log_id(), Bytes::new()), Err(Malformed("entry.kind")));
    }
}
