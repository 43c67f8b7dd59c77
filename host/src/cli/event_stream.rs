//! Server-sent events, read from the body of an answer.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

/// Longest event that is read, in bytes: a frame of the hub is much shorter.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A stream of events.
#[derive(Debug)]
pub(super) struct EventStream {
    body: Incoming,
    events: EventReader,
}

impl EventStream {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, events: EventReader::default() }
    }

    /// The data of the next event; none at the end, and if it is of another kind.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            if let Some(data) = self.events.next() {
                return serde_json::from_str(&data).ok();
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.events.add(&bytes)?;
            }
        }
    }
}

/// Finds the events in a text that comes in pieces.
#[derive(Debug, Default)]
struct EventReader {
    text: Vec<u8>,
}

impl EventReader {
    /// Adds a piece; none if an event is too long.
    fn add(&mut self, piece: &[u8]) -> Option<()> {
        self.text.extend_from_slice(piece);
        (self.text.len() <= EVENT_BYTES_MAX).then_some(())
    }

    /// The data of the next whole event that has any.
    fn next(&mut self) -> Option<String> {
        loop {
            let end = self.text.windows(2).position(|two| two == b"\n\n")?;
            let event: Vec<u8> = self.text.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
            let data: Vec<&str> = data.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_in_pieces_and_comments_are_none() {
        let mut reader = EventReader::default();
        reader.add(b":keep\n\nevent: events\nid: p1\ndata: {\"a\"").unwrap();
        assert_eq!(reader.next(), None);
        reader.add(b":1}\n\ndata: [\ndata: ]\n\n").unwrap();
        assert_eq!(reader.next().as_deref(), Some("{\"a\":1}"));
        assert_eq!(reader.next().as_deref(), Some("[\n]"));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn an_event_without_an_end_is_not_kept() {
        let mut reader = EventReader::default();
        assert!(reader.add(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_none());
    }
}
