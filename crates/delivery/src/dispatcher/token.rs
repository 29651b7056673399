//! The words that name one delivery, or one notice of expired IDs; opaque to clients.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunkline_types::limits::PEER_NUMBER_MAX;
use trunkline_types::{ConsumerName, FencingToken, Generation, TopicId, hash64};

const FORMAT: u8 = 1;
const FORMAT_OF_NOTICES: u8 = 2;
/// Six varints and the format fit in it.
const BYTES_MAX: usize = 64;

/// Names one handing-out of one message of one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryToken {
    /// [`subscription_check`]: a token of another subscription is recognized as such.
    pub check: u32,
    pub instance: u64,
    pub generation: Generation,
    pub token: FencingToken,
    pub id: u64,
    /// 1 the first time under this fencing token.
    pub attempt: u32,
}

/// Names what a client was told of IDs that will never be delivered: acknowledged, they are not told again. Good for
/// any dispatcher of its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeToken {
    /// As in [`DeliveryToken::check`].
    pub check: u32,
    pub instance: u64,
    pub generation: Generation,
    pub from: u64,
    pub to: u64,
}

/// What a client can acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Delivery(DeliveryToken),
    Notice(NoticeToken),
}

/// The bytes are not a token of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is not a delivery token")]
pub struct InvalidToken;

impl DeliveryToken {
    /// A byte of format, then varints; about 15 bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(FORMAT, self)
    }
}

impl NoticeToken {
    /// A byte of format, then varints.
    pub fn encode(&self) -> Vec<u8> {
        encode(FORMAT_OF_NOTICES, self)
    }

    pub(super) fn range(&self) -> Range<u64> {
        self.from..self.to
    }
}

impl Token {
    /// [`subscription_check`] of the subscription that it is of.
    pub fn check(&self) -> u32 {
        match self {
            Self::Delivery(token) => token.check,
            Self::Notice(token) => token.check,
        }
    }

    /// # Errors
    /// [`InvalidToken`] for bytes that [`DeliveryToken::encode`] or [`NoticeToken::encode`] did not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidToken> {
        if bytes.len() > BYTES_MAX {
            return Err(InvalidToken);
        }
        match bytes.split_first() {
            Some((&FORMAT, body)) => whole(body).map(Self::Delivery),
            Some((&FORMAT_OF_NOTICES, body)) => match whole::<NoticeToken>(body)? {
                notice if notice.from < notice.to && notice.to <= PEER_NUMBER_MAX => Ok(Self::Notice(notice)),
                _ => Err(InvalidToken),
            },
            _ => Err(InvalidToken),
        }
    }
}

impl From<DeliveryToken> for Token {
    fn from(token: DeliveryToken) -> Self {
        Self::Delivery(token)
    }
}

impl From<NoticeToken> for Token {
    fn from(token: NoticeToken) -> Self {
        Self::Notice(token)
    }
}

fn encode(format: u8, token: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES_MAX);
    bytes.push(format);
    postcard::to_extend(token, bytes).expect("a few numbers in memory always encode")
}

fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, InvalidToken> {
    match postcard::take_from_bytes(body) {
        Ok((token, [])) => Ok(token),
        _ => Err(InvalidToken),
    }
}

/// 32 bits of (topic, consumer) for [`DeliveryToken::check`].
pub fn subscription_check(topic: TopicId, consumer: &ConsumerName) -> u32 {
    let mut key = topic.0.to_be_bytes().to_vec();
    key.extend_from_slice(consumer.as_str().as_bytes());
    (hash64(&key) >> 32).try_into().expect("the upper half of 64 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_survives_its_bytes_and_nothing_else_is_one(
            words in prop::array::uniform4(any::<u64>()), check: u32, attempt: u32, cut in 0usize..40,
        ) {
            let token = DeliveryToken {
                check, instance: words[0], generation: Generation(words[1]), token: FencingToken(words[2]),
                id: words[3], attempt,
            };
            let bytes = token.encode();
            let notice = NoticeToken {
                check, instance: words[0], generation: Generation(words[1]), from: words[2] >> 32,
                to: (words[2] >> 32) + 1 + (words[3] >> 32),
            };
            for (bytes, token) in [(bytes, Token::from(token)), (notice.encode(), Token::from(notice))] {
                prop_assert_eq!(Token::decode(&bytes), Ok(token));
                let shorter = &bytes[..cut.min(bytes.len() - 1)];
                prop_assert_eq!(Token::decode(shorter), Err(InvalidToken));
                let longer = [bytes.as_slice(), &[0]].concat();
                prop_assert_eq!(Token::decode(&longer), Err(InvalidToken));
            }
        }

        #[test]
        fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Token::decode(&bytes);
        }
    }

    #[test]
    fn golden_bytes() {
        let token = DeliveryToken {
            check: 7,
            instance: 300,
            generation: Generation(0),
            token: FencingToken(2),
            id: 5,
            attempt: 1,
        };
        assert_eq!(token.encode(), [1, 7, 0xac, 2, 0, 2, 5, 1]);
        let notice = NoticeToken { check: 7, instance: 300, generation: Generation(0), from: 2, to: 5 };
        assert_eq!(notice.encode(), [2, 7, 0xac, 2, 0, 2, 5]);
        for unknown in [&[3, 7, 0xac, 2, 0, 2, 5, 1][..], &[2, 7, 0xac, 2, 0, 5, 5]] {
            assert_eq!(Token::decode(unknown), Err(InvalidToken), "{unknown:?}");
        }
    }
}
