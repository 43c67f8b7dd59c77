//! The fields of Kafka's protocol: written to a request, and read from an answer without trusting a
//! length that it says. Pure.
//!
//! Source: the protocol guide of Apache Kafka, "Protocol Primitive Types". Only the forms of
//! versions without tagged fields are here.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use thiserror::Error;

/// An answer that is not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the answer ends early, or has a field that cannot be")]
pub(super) struct Malformed;

/// Writes the fields of a request.
#[derive(Debug, Default)]
pub(super) struct FieldWriter(BytesMut);

impl FieldWriter {
    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.0.put_u8(u8::from(value));
        self
    }

    pub(super) fn i16(&mut self, value: i16) -> &mut Self {
        self.0.put_i16(value);
        self
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.put_i32(value);
        self
    }

    /// A text. All that are sent here are short.
    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        let length = i16::try_from(value.len()).unwrap_or(i16::MAX);
        self.i16(length).0.put_slice(&value.as_bytes()[..usize::from(length.unsigned_abs())]);
        self
    }

    pub(super) fn no_text(&mut self) -> &mut Self {
        self.i16(-1)
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.i32(length(value.len())).0.put_slice(value);
        self
    }

    /// The items with their count before them.
    pub(super) fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.i32(length(items.len()));
        for item in items {
            write(self, item);
        }
        self
    }

    pub(super) fn finish(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

/// A length as a field has it. Requests are limited to far less.
pub(super) fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// Reads the fields of an answer.
#[derive(Debug)]
pub(super) struct FieldReader(Bytes);

impl FieldReader {
    pub(super) fn new(answer: Bytes) -> Self {
        Self(answer)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.take(1)?[0] != 0)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(self.take(2)?.get_i16())
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(self.take(4)?.get_i32())
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(self.take(8)?.get_i64())
    }

    /// A text; none if it is null.
    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, Malformed> {
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let bytes = self.take(usize::try_from(length).map_err(|_| Malformed)?)?;
        Ok(Some(String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)?))
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        self.maybe_text()?.ok_or(Malformed)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.i32()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    /// The items of a list. Memory is taken for each once it was read, and not for their count.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::try_from(self.i32()?).map_err(|_| Malformed)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        if self.0.len() < bytes {
            return Err(Malformed);
        }
        Ok(self.0.split_to(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written() {
        let mut fields = FieldWriter::default();
        fields.bool(true).i16(-2).i32(7).text("t\u{e4}").no_text().bytes(b"xy");
        fields.list([1, 2, 3].into_iter(), |to, item| {
            to.i32(item);
        });
        let mut read = FieldReader::new(fields.finish());
        assert_eq!((read.bool(), read.i16(), read.i32()), (Ok(true), Ok(-2), Ok(7)));
        assert_eq!((read.text(), read.maybe_text()), (Ok("t\u{e4}".into()), Ok(None)));
        assert_eq!(read.bytes(), Ok(Bytes::from_static(b"xy")));
        assert_eq!(read.list(FieldReader::i32), Ok(vec![1, 2, 3]));
        assert_eq!(read.bool(), Err(Malformed));
    }

    #[test]
    fn a_length_that_cannot_be_takes_no_memory() {
        let of = |bytes: &'static [u8]| FieldReader::new(Bytes::from_static(bytes));
        assert_eq!(of(b"\x7f\xff\xff\xff").list(FieldReader::i32), Err(Malformed));
        assert_eq!(of(b"\xff\xff\xff\xfe").list(FieldReader::i32), Err(Malformed));
        assert_eq!(of(b"\x7f\xff\xff\xff12").bytes(), Err(Malformed));
        assert_eq!(of(b"\x00\x02\xff\xff").text(), Err(Malformed));
        assert_eq!(of(b"\xff\xfe").maybe_text(), Err(Malformed));
    }
}
