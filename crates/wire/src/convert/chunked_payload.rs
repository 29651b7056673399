//! A large payload as a record names it: so many bytes, in chunks of one size but for the last.

use trunkline_types::checksum;
use trunkline_types::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_CHUNK_BYTES, PAYLOAD_CHUNKS_MAX};

use super::Malformed;
use crate::internal::{ChunkedPayload, RecordBody};
use crate::v1::LargePayload;

impl ChunkedPayload {
    /// What a record of a large payload says of it.
    ///
    /// # Errors
    /// [`Malformed`] where the body is none, says nothing of a large payload, or contradicts itself.
    pub fn of_body(body: bytes::Bytes) -> Result<Self, Malformed> {
        let body = <RecordBody as prost::Message>::decode(body).map_err(|_| Malformed("record.body"))?;
        let payload = body.large.ok_or(Malformed("record.large"))?;
        payload.check()?;
        Ok(payload)
    }

    /// # Errors
    /// [`Malformed`] beyond a limit, or where there are not as many checksums as chunks.
    pub fn check(&self) -> Result<(), Malformed> {
        check_sizes(self.bytes, self.chunk_bytes)?;
        if self.chunks.len() as u64 != u64::from(self.count()) {
            return Err(Malformed("large.chunks"));
        }
        Ok(())
    }

    /// How many chunks there are.
    pub fn count(&self) -> u32 {
        count(self.bytes, self.chunk_bytes)
    }

    /// Whether these are the bytes of a chunk.
    pub fn is_sound(&self, chunk: u32, bytes: &[u8]) -> bool {
        let expected = usize::try_from(chunk).ok().and_then(|chunk| self.chunks.get(chunk));
        bytes.len() as u64 == length(self.bytes, self.chunk_bytes, chunk)
            && expected == Some(&checksum(bytes))
    }

    /// As clients see it.
    pub fn public(&self) -> LargePayload {
        LargePayload { bytes: self.bytes, checksum: self.checksum }
    }
}

/// How many chunks so many bytes are.
pub fn count(bytes: u64, chunk_bytes: u32) -> u32 {
    u32::try_from(bytes.div_ceil(u64::from(chunk_bytes.max(1)))).unwrap_or(u32::MAX)
}

/// The bytes of one chunk; 0 where there is none of that number.
pub fn length(bytes: u64, chunk_bytes: u32, chunk: u32) -> u64 {
    bytes.saturating_sub(u64::from(chunk) * u64::from(chunk_bytes)).min(chunk_bytes.into())
}

/// # Errors
/// [`Malformed`] beyond a limit.
pub fn check_sizes(bytes: u64, chunk_bytes: u32) -> Result<(), Malformed> {
    if bytes == 0 || bytes > PAYLOAD_BYTES_MAX {
        return Err(Malformed("large.bytes"));
    }
    if chunk_bytes == 0
        || chunk_bytes > PAYLOAD_CHUNK_BYTES
        || count(bytes, chunk_bytes) as usize > PAYLOAD_CHUNKS_MAX
    {
        return Err(Malformed("large.chunk_bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn payload(bytes: u64, chunk_bytes: u32, chunks: usize) -> ChunkedPayload {
        ChunkedPayload { bytes, chunk_bytes, checksum: 7, chunks: vec![checksum(b"x"); chunks] }
    }

    #[test]
    fn what_contradicts_itself_is_malformed_and_names_its_field() {
        for (payload, expected) in [
            (payload(100_000_000, 256 << 10, 382), Ok(())),
            (payload(10, 3, 4), Ok(())),
            (payload(9, 3, 3), Ok(())),
            (payload(9, 3, 4), Err(Malformed("large.chunks"))),
            (payload(0, 3, 0), Err(Malformed("large.bytes"))),
            (payload(100_000_001, 256 << 10, 382), Err(Malformed("large.bytes"))),
            (payload(9, 0, 0), Err(Malformed("large.chunk_bytes"))),
            (payload(9, (256 << 10) + 1, 1), Err(Malformed("large.chunk_bytes"))),
            (payload(100_000_000, 1, 0), Err(Malformed("large.chunk_bytes"))),
        ] {
            assert_eq!(payload.check(), expected, "{} by {}", payload.bytes, payload.chunk_bytes);
            let body = RecordBody { large: Some(payload.clone()), ..RecordBody::default() };
            let read = ChunkedPayload::of_body(body.encode_to_vec().into());
            assert_eq!(read, expected.map(|()| payload));
        }
        let none = RecordBody::default().encode_to_vec();
        assert_eq!(ChunkedPayload::of_body(none.into()), Err(Malformed("record.large")));
        assert_eq!(ChunkedPayload::of_body(vec![7].into()), Err(Malformed("record.body")));
    }

    #[test]
    fn a_chunk_is_sound_by_its_length_and_its_checksum() {
        let of = |bytes, chunks: &[&[u8]]| ChunkedPayload {
            chunks: chunks.iter().map(|chunk| checksum(chunk)).collect(),
            ..payload(bytes, 2, 0)
        };
        let three = of(5, &[b"ab", b"cd", b"e"]);
        for (chunk, bytes, expected) in
            [(0, &b"ab"[..], true), (2, b"e", true), (1, b"cx", false), (2, b"ef", false), (3, b"", false)]
        {
            assert_eq!(three.is_sound(chunk, bytes), expected, "{chunk}: {bytes:?}");
        }
        assert_eq!((three.count(), length(5, 2, 1), length(5, 2, 2), length(5, 2, 3)), (3, 2, 1, 0));
    }
}
