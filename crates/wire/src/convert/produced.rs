//! A producer's id and sequence, as records, runs and messages carry them: both or none.

use bytes::Bytes;
use trunkline_types::limits::{PRODUCER_ID_BYTES, PRODUCER_SEQUENCE_MAX};
use trunkline_types::{Produced, ProducerId};

use super::Malformed;

/// # Errors
/// [`Malformed`] unless there is an id of 16 bytes with a sequence that a producer may count to, or neither.
pub fn produced(id: &[u8], sequence: u64) -> Result<Option<Produced>, Malformed> {
    match (id.len(), sequence) {
        (0, 0) => Ok(None),
        (PRODUCER_ID_BYTES, 1..=PRODUCER_SEQUENCE_MAX) => {
            Ok(Some(Produced { producer: producer(id)?, sequence }))
        }
        (PRODUCER_ID_BYTES, _) => Err(Malformed("producer_sequence")),
        _ => Err(Malformed("producer_id")),
    }
}

/// The same of the first of `count` consecutive ones.
///
/// # Errors
/// [`Malformed`] also where the last one is none that a producer may count to.
pub fn produced_run(id: &[u8], first: u64, count: u64) -> Result<Option<Produced>, Malformed> {
    let produced = produced(id, first)?;
    let fits = |first: &Produced| first.sequence.saturating_add(count) <= PRODUCER_SEQUENCE_MAX + 1;
    if produced.as_ref().is_none_or(fits) { Ok(produced) } else { Err(Malformed("producer_sequence")) }
}

/// # Errors
/// [`Malformed`] for an id that has not 16 bytes.
pub fn producer(id: &[u8]) -> Result<ProducerId, Malformed> {
    id.try_into().map(ProducerId).map_err(|_| Malformed("producer_id"))
}

/// As two fields.
pub fn from_produced(produced: Option<Produced>) -> (Bytes, u64) {
    produced.map_or((Bytes::new(), 0), |of| (Bytes::copy_from_slice(&of.producer.0), of.sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_has_an_id_and_a_sequence_or_there_is_none() {
        let some = Produced { producer: ProducerId([7; 16]), sequence: 5 };
        assert_eq!(produced(&[7; 16], 5), Ok(Some(some)));
        let (id, sequence) = from_produced(Some(some));
        assert_eq!(produced(&id, sequence), Ok(Some(some)));
        assert_eq!(from_produced(None), (Bytes::new(), 0));
        assert_eq!(produced(&[], 0), Ok(None));
        for (id, sequence, what) in [
            (&[][..], 1, "producer_id"),
            (&[7; 15], 1, "producer_id"),
            (&[7; 17], 1, "producer_id"),
            (&[7; 16], 0, "producer_sequence"),
            (&[7; 16], PRODUCER_SEQUENCE_MAX + 1, "producer_sequence"),
        ] {
            assert_eq!(produced(id, sequence), Err(Malformed(what)), "{id:?} {sequence}");
        }
        let last = PRODUCER_SEQUENCE_MAX;
        assert!(produced_run(&[7; 16], last, 1).is_ok() && produced_run(&[7; 16], last, 2).is_err());
        assert!(produced_run(&[], 0, u64::MAX).is_ok());
    }
}
