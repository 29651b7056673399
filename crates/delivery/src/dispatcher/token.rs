//! The word that names one delivery, opaque to clients.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunkline_types::{ConsumerName, FencingToken, Generation, TopicId, hash64};

const FORMAT: u8 = 1;
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

/// The bytes are not a delivery token of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is not a delivery token")]
pub struct InvalidToken;

impl DeliveryToken {
    /// A byte of format, then varints; about 15 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES_MAX);
        bytes.push(FORMAT);
        postcard::to_extend(self, bytes).expect("six numbers in memory always encode")
    }

    /// # Errors
    /// [`InvalidToken`] for bytes that [`DeliveryToken::encode`] did not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidToken> {
        match bytes.split_first() {
            Some((&FORMAT, body)) if bytes.len() <= BYTES_MAX => match postcard::take_from_bytes(body) {
                Ok((token, [])) => Ok(token),
                _ => Err(InvalidToken),
            },
            _ => Err(InvalidToken),
        }
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
            prop_assert_eq!(DeliveryToken::decode(&bytes), Ok(token));
            let shorter = &bytes[..cut.min(bytes.len() - 1)];
            prop_assert_eq!(DeliveryToken::decode(shorter), Err(InvalidToken));
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert_eq!(DeliveryToken::decode(&longer), Err(InvalidToken));
        }

        #[test]
        fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = DeliveryToken::decode(&bytes);
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
        assert_eq!(DeliveryToken::decode(&[2, 7, 0xac, 2, 0, 2, 5, 1]), Err(InvalidToken));
    }
}
