//! Topic and consumer names as clients may choose them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::Bucket;
use crate::limits::NAME_BYTES_MAX;

/// A name that is not `[A-Za-z0-9._-]{1,255}`. Says what is wrong in words for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    #[error("must not be empty")]
    Empty,
    #[error("is {0} bytes long, at most {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("contains {0:?}, allowed are A-Z a-z 0-9 . _ -")]
    Character(char),
}

fn check(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong(name.len()));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(InvalidName::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// [`InvalidName`] unless `name` is `[A-Za-z0-9._-]{1,255}`.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                check(&name).map(|()| Self(name))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }
    };
}

name! {
    /// A topic's name.
    TopicName
}
name! {
    /// A consumer's name; (topic, consumer) names a subscription.
    ConsumerName
}

impl TopicName {
    /// The bucket this topic hashes into. `buckets` is a power of two, fixed when the cluster was initialized.
    #[allow(clippy::cast_possible_truncation, reason = "a bucket number is below 2^16")]
    pub fn bucket(&self, buckets: u32) -> Bucket {
        Bucket((crate::hash64(self.0.as_bytes()) % u64::from(buckets)) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outside_the_alphabet_is_refused_in_words() {
        assert_eq!(TopicName::new(""), Err(InvalidName::Empty));
        assert_eq!(TopicName::new("a/b"), Err(InvalidName::Character('/')));
        assert_eq!(TopicName::new("x".repeat(256)), Err(InvalidName::TooLong(256)));
        assert!(TopicName::new("Orders.eu_1-a").is_ok());
    }

    #[test]
    fn buckets_are_fixed_for_ever() {
        let bucket = TopicName::new("orders").expect("a valid name").bucket(256);
        assert_eq!(bucket, Bucket(u16::try_from(crate::hash64(b"orders") % 256).expect("below 256")));
        assert_eq!(
            crate::hash64(b"orders"),
            12_145_308_562_482_623_739,
            "XXH3-64 places data: it never changes"
        );
    }
}
