//! What a client is ready to take.

use trunkline_types::limits::{CREDIT_BYTES_MAX, CREDIT_MESSAGES_MAX};
use trunkline_wire::status::invalid;
use trunkline_wire::{Status, v1};

use crate::memory::size;

#[derive(Debug, Default)]
pub(super) struct Credit {
    messages: u64,
    /// Below zero once a first message was larger than what was left.
    bytes: i64,
}

impl Credit {
    pub(super) fn add(&mut self, messages: u32, bytes: u64) -> Result<(), Status> {
        self.messages += u64::from(messages);
        if self.messages > CREDIT_MESSAGES_MAX {
            let problem =
                format!("makes {}, at most {CREDIT_MESSAGES_MAX} messages are allowed", self.messages);
            return Err(invalid("credit_messages", problem));
        }
        let all = i64::try_from(bytes).ok().and_then(|bytes| self.bytes.checked_add(bytes));
        match all.filter(|&all| all <= CREDIT_BYTES_MAX.cast_signed()) {
            Some(all) => self.bytes = all,
            None => {
                let problem = format!("makes more than the {CREDIT_BYTES_MAX} bytes that are allowed");
                return Err(invalid("credit_bytes", problem));
            }
        }
        Ok(())
    }

    /// Messages and bytes; none unless there is some of both.
    pub(super) fn left(&self) -> Option<(u64, u64)> {
        let bytes = u64::try_from(self.bytes).ok().filter(|&bytes| bytes > 0)?;
        (self.messages > 0).then_some((self.messages, bytes))
    }

    pub(super) fn spend(&mut self, deliveries: &[v1::Delivery]) {
        let contents = deliveries.iter().filter_map(|one| one.message.as_ref()?.message.as_ref());
        let bytes: u64 = contents.map(size).sum();
        self.messages = self.messages.saturating_sub(deliveries.len() as u64);
        self.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(bytes: usize) -> v1::Delivery {
        let message = v1::Message { payload: vec![0; bytes].into(), ..v1::Message::default() };
        let received = v1::ReceivedMessage { message: Some(message), ..v1::ReceivedMessage::default() };
        v1::Delivery { message: Some(received), ..v1::Delivery::default() }
    }

    #[test]
    fn there_is_credit_only_while_there_is_some_of_both_and_a_large_message_is_paid_off() {
        let mut credit = Credit::default();
        credit.add(3, 0).unwrap();
        assert_eq!(credit.left(), None);
        credit.add(0, 100).unwrap();
        assert_eq!(credit.left(), Some((3, 100)));
        credit.spend(&[delivery(250)]);
        assert_eq!(credit.left(), None);
        credit.add(0, 150).unwrap();
        assert_eq!(credit.left(), None, "just paid");
        credit.add(0, 1).unwrap();
        assert_eq!(credit.left(), Some((2, 1)));
        let refused = |credit: &mut Credit, messages, bytes| credit.add(messages, bytes).unwrap_err();
        assert!(refused(&mut credit, 100_000, 0).message().starts_with("credit_messages makes 100002"));
        assert!(refused(&mut Credit::default(), 0, u64::MAX).message().starts_with("credit_bytes makes"));
    }
}
