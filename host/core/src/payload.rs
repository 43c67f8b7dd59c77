//! Payloads: headers and a body, and their stored form.
//!
//! The encoding is a permanent storage format: a version byte, the number of headers, each name and
//! value with its length, then the body to the end. Lengths are LEB128. The store compresses it.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

const VERSION: u8 = 1;

/// Headers in the order received, with names in lower case, and the body as received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// Names and values; values are bytes, because not every sender uses UTF-8.
    pub headers: Vec<(Box<str>, Bytes)>,
    pub body: Bytes,
}

/// The stored bytes are not a payload.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("stored payload is damaged at byte {at}")]
pub struct DamagedPayload {
    at: usize,
}

impl Payload {
    /// A body with its content type.
    #[must_use]
    pub fn new(content_type: &str, body: Bytes) -> Self {
        let value = Bytes::copy_from_slice(content_type.as_bytes());
        Self { headers: vec![("content-type".into(), value)], body }
    }

    /// The first value of a header; `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(n, _)| &**n == name).map(|(_, v)| v)
    }

    /// The content type; empty if there is none.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.header("content-type").and_then(|v| std::str::from_utf8(v).ok()).unwrap_or("")
    }

    /// The size of headers and body in bytes, as limits and metrics count it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() + self.body.len()
    }

    /// Encodes the payload for storage.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size() + 4 * self.headers.len() + 8);
        out.put_u8(VERSION);
        put_length(&mut out, self.headers.len());
        for (name, value) in &self.headers {
            put_length(&mut out, name.len());
            out.put_slice(name.as_bytes());
            put_length(&mut out, value.len());
            out.put_slice(value);
        }
        out.put_slice(&self.body);
        out.freeze()
    }

    /// Decodes a stored payload; its parts share the memory of `stored`.
    pub fn decode(stored: &Bytes) -> Result<Self, DamagedPayload> {
        let mut at = 0;
        if stored.first() != Some(&VERSION) {
            return Err(DamagedPayload { at });
        }
        at += 1;
        let count = take_length(stored, &mut at)?;
        // Each header takes at least two bytes, so a damaged count cannot allocate more memory than
        // that.
        let mut headers = Vec::with_capacity(count.min(stored.len() / 2));
        for _ in 0..count {
            let start = at;
            let name = take_slice(stored, &mut at)?;
            let name = std::str::from_utf8(&name).map_err(|_| DamagedPayload { at: start })?.into();
            headers.push((name, take_slice(stored, &mut at)?));
        }
        Ok(Self { headers, body: stored.slice(at..) })
    }
}

fn put_length(out: &mut BytesMut, mut n: usize) {
    while n >= 0x80 {
        out.put_u8(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.put_u8(n.to_le_bytes()[0]);
}

fn take_length(from: &Bytes, at: &mut usize) -> Result<usize, DamagedPayload> {
    let start = *at;
    let mut n = 0usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *from.get(*at).ok_or(DamagedPayload { at: start })?;
        *at += 1;
        n |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(DamagedPayload { at: start })
}

fn take_slice(from: &Bytes, at: &mut usize) -> Result<Bytes, DamagedPayload> {
    let start = *at;
    let length = take_length(from, at)?;
    let end = at.checked_add(length).filter(|end| *end <= from.len());
    let end = end.ok_or(DamagedPayload { at: start })?;
    let slice = from.slice(*at..end);
    *at = end;
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_payload_survives_storage(
            headers in prop::collection::vec(("[a-z-]{1,20}", prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            body in prop::collection::vec(any::<u8>(), 0..3000),
        ) {
            let headers = headers.into_iter().map(|(n, v)| (n.into_boxed_str(), v.into())).collect();
            let payload = Payload { headers, body: body.into() };
            prop_assert_eq!(Payload::decode(&payload.encode()).unwrap(), payload);
        }

        #[test]
        fn damaged_bytes_are_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            bytes.insert(0, VERSION);
            let _ = Payload::decode(&bytes.into());
        }
    }
}
