//! Trace context of W3C: the trace that a request belongs to, read from its headers, stored with
//! its event and written to messages. Pure.
//!
//! A sender's `traceparent` stays in the payload as it was received. The hub adds its own header
//! when it continues the trace with a span of its own. Not here: spans, and their export.

use std::fmt::{self, Write as _};

use crate::payload::Payload;

/// The header with the trace and the span that caused a request.
pub const TRACE_PARENT_HEADER: &str = "traceparent";
/// The header with what vendors add to a trace.
pub const TRACE_STATE_HEADER: &str = "tracestate";
/// The header of a stored payload with the trace as the hub continues it. A sender's header of this
/// name is dropped, like every other that begins with `weir-`.
pub const STORED_TRACE_HEADER: &str = "weir-trace";

/// Length of a `traceparent` of version 0.
const PARENT_BYTES: usize = 55;
/// The limits of the specification for `tracestate`.
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;
const STATE_KEY_BYTES_MAX: usize = 256;

/// The flags that are passed on: sampled, and random.
const FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// The id of a trace. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The id of a span. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// None for zero, which is not an id.
            #[must_use]
            pub fn new(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            #[must_use]
            pub fn bytes(&self) -> [u8; $bytes] {
                self.0
            }

            /// Reads lower-case hex, the only form that the specification allows.
            fn read(text: &[u8]) -> Option<Self> {
                let mut bytes = [0; $bytes];
                if text.iter().any(u8::is_ascii_uppercase) {
                    return None;
                }
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Self::new(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(TraceId, 16);
id!(SpanId, 8);

/// A trace, and the span in it that causes what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: TraceId,
    pub span: SpanId,
    flags: u8,
}

impl TraceContext {
    /// A new trace that begins with this span.
    #[must_use]
    pub fn begin(trace: TraceId, span: SpanId, is_sampled: bool) -> Self {
        Self { trace, span, flags: u8::from(is_sampled) }
    }

    /// The same trace, continued by another span.
    #[must_use]
    pub fn continued_by(self, span: SpanId) -> Self {
        Self { span, ..self }
    }

    /// True if its spans are to be exported.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Reads a `traceparent`. None if it is not valid.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let (version, rest) = (value.get(..2)?, value.get(PARENT_BYTES..)?);
        let is_known = match version {
            b"00" => rest.is_empty(),
            b"ff" => false,
            // A later version may add fields after a dash.
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| value[*at] == b'-');
        let lower = |text: &[u8]| !text.iter().any(u8::is_ascii_uppercase);
        let (mut of_version, mut flags) = ([0], [0]);
        if !is_known || !dashes || !lower(version) || !lower(&value[53..55]) {
            return None;
        }
        hex::decode_to_slice(version, &mut of_version).ok()?;
        hex::decode_to_slice(&value[53..55], &mut flags).ok()?;
        let (trace, span) = (TraceId::read(&value[3..35])?, SpanId::read(&value[36..52])?);
        Some(Self { trace, span, flags: flags[0] & FLAGS })
    }
}

impl fmt::Display for TraceContext {
    /// The value of a `traceparent` of version 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// The only valid `traceparent` among these values. Two make the trace unknown.
pub fn read_parent<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<TraceContext> {
    let mut values = values.into_iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { TraceContext::read(first) }
}

/// The members of these `tracestate` values in one. None if they are not valid, or above a limit.
pub fn read_state<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let (mut all, mut members) = (String::new(), 0);
    for value in values {
        for member in
            std::str::from_utf8(value).ok()?.split(',').map(|m| m.trim_matches([' ', '\t']))
        {
            if member.is_empty() {
                continue;
            }
            members += 1;
            if members > STATE_MEMBERS_MAX || !is_member(member) {
                return None;
            }
            if !all.is_empty() {
                all.push(',');
            }
            all.push_str(member);
            if all.len() > STATE_BYTES_MAX {
                return None;
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

fn is_member(text: &str) -> bool {
    let Some((key, value)) = text.split_once('=') else { return false };
    let in_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    let in_value = |b: u8| (b' '..=b'~').contains(&b) && b != b'=';
    (1..=STATE_KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().all(in_key)
        && !value.is_empty()
        && value.bytes().all(in_value)
}

impl Payload {
    /// The trace as the hub continues it, else as the sender's header says.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.continued_trace().or_else(|| read_parent(self.values(TRACE_PARENT_HEADER)))
    }

    /// The trace as the hub continues it.
    #[must_use]
    pub fn continued_trace(&self) -> Option<TraceContext> {
        self.header(STORED_TRACE_HEADER).and_then(|value| TraceContext::read(value))
    }

    /// The additions of vendors to the trace.
    #[must_use]
    pub fn trace_state(&self) -> Option<String> {
        read_state(self.values(TRACE_STATE_HEADER))
    }

    /// Stores the trace as the hub continues it.
    pub fn set_trace(&mut self, trace: TraceContext) {
        self.headers.retain(|(name, _)| &**name != STORED_TRACE_HEADER);
        self.headers.push(stored_trace(trace));
    }

    /// Puts a payload that a handler made into a trace, with what vendors added to it.
    pub fn join_trace(&mut self, trace: TraceContext, state: Option<&str>) {
        let of_trace = [TRACE_PARENT_HEADER, TRACE_STATE_HEADER];
        self.headers.retain(|(name, _)| !of_trace.contains(&&**name));
        self.set_trace(trace);
        if let Some(state) = state {
            self.headers.push((TRACE_STATE_HEADER.into(), state.to_owned().into()));
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| &**n == name).map(|(_, value)| &value[..])
    }
}

/// The header with which a payload stores its trace.
#[must_use]
pub fn stored_trace(trace: TraceContext) -> (Box<str>, bytes::Bytes) {
    let mut value = String::with_capacity(PARENT_BYTES);
    // Writing to a string does not fail.
    let _written = write!(value, "{trace}");
    (STORED_TRACE_HEADER.into(), value.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(text: &str) -> Option<TraceContext> {
        TraceContext::read(text.as_bytes())
    }

    #[test]
    fn a_valid_traceparent_reads_back_as_it_was() {
        let trace = read(GOOD).unwrap();
        assert_eq!((trace.to_string(), trace.is_sampled()), (GOOD.to_owned(), true));
        let later = read(&format!("cc{}-what-comes", &GOOD[2..])).unwrap();
        assert_eq!(later, trace, "a later version, with more fields");
        assert!(!read(&GOOD.replace("-01", "-00")).unwrap().is_sampled());
    }

    #[test]
    fn an_invalid_traceparent_is_none() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD} "),
            &GOOD.replace("00-4b", "ff-4b"),
            &GOOD.replace("4bf9", "4BF9"),
            &GOOD.replace("00f0", "00F0"),
            &GOOD.replace("-01", "-0A"),
            &GOOD.replace("-00f067aa0ba902b7-", "_00f067aa0ba902b7-"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read_parent([GOOD.as_bytes(), GOOD.as_bytes()]), None, "two of them");
    }

    #[test]
    fn a_tracestate_is_bounded_and_valid() {
        let state = |values: &[&str]| read_state(values.iter().map(|v| v.as_bytes()));
        assert_eq!(state(&["a=1, b@x=2", "c=3"]).as_deref(), Some("a=1,b@x=2,c=3"));
        let many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        let long = format!("a={}", "x".repeat(511));
        for bad in ["", ",", "a", "A=1", "a=", "a=\u{7f}", "=1", &many, &long] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn the_hubs_continuation_goes_before_the_senders_header() {
        let mut payload = Payload::default();
        payload.headers.push((TRACE_PARENT_HEADER.into(), Bytes::from_static(GOOD.as_bytes())));
        let sent = payload.trace().unwrap();
        assert_eq!(payload.continued_trace(), None);
        let continued = sent.continued_by(SpanId::new([7; 8]).unwrap());
        payload.set_trace(continued);
        payload.set_trace(continued);
        assert_eq!(payload.trace(), Some(continued));
        assert_eq!(payload.headers.len(), 2, "the sender's stays");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_without_panic(
            value in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = TraceContext::read(&value);
            if let Some(state) = read_state([&value[..]]) {
                prop_assert!(state.len() <= STATE_BYTES_MAX);
            }
        }
    }
}
