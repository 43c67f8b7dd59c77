//! Reads the raw lines of a request head for what hyper does not tell: whether the head announces
//! the length of its body in one way only. Pure.

/// The start of the header line that is looked for, in lower case.
const CONTENT_LENGTH: &[u8] = b"content-length:";

/// The ways in which a request head may announce the length of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The head announces the length in at most one way.
    Unambiguous,
    /// The head may announce the length twice: hyper shows only `Transfer-Encoding` of a request
    /// that has `Content-Length` too.
    Unknown,
}

/// Looks for `Content-Length` in the lines of one head, in whatever pieces they arrive.
///
/// A head that came together with the end of the request before it is not scanned.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    /// The first bytes of the current line.
    start: [u8; CONTENT_LENGTH.len()],
    length: usize,
    seen_line: bool,
    content_length: bool,
    ended: bool,
}

impl HeadScanner {
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.ended && !bytes.is_empty() {
            let (line, rest, whole) = match memchr::memchr(b'\n', bytes) {
                Some(end) => (&bytes[..end], &bytes[end + 1..], true),
                None => (bytes, &[][..], false),
            };
            self.extend_line(line);
            if whole {
                self.end_line();
            }
            bytes = rest;
        }
    }

    /// The result for the head that was fed.
    pub(crate) fn framing(&self) -> Framing {
        if self.ended && !self.content_length { Framing::Unambiguous } else { Framing::Unknown }
    }

    /// Keeps as much of the line's start as it takes to recognise the header.
    fn extend_line(&mut self, part: &[u8]) {
        let room = self.start.len() - self.length;
        let part = &part[..part.len().min(room)];
        self.start[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }

    fn end_line(&mut self) {
        match &self.start[..self.length] {
            // Empty lines before the request line are allowed.
            b"" | b"\r" => self.ended = self.seen_line,
            line => {
                self.seen_line = true;
                self.content_length |= line.eq_ignore_ascii_case(CONTENT_LENGTH);
            }
        }
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `head` in pieces that are cut at these lengths.
    fn scan(head: &str, cuts: &[usize]) -> (bool, bool) {
        let mut scanner = HeadScanner::default();
        let mut rest = head.as_bytes();
        for cut in cuts {
            let (part, after) = rest.split_at(*cut.min(&rest.len()));
            scanner.feed(part);
            rest = after;
        }
        scanner.feed(rest);
        (scanner.content_length, scanner.ended)
    }

    #[test]
    fn content_length_is_found_in_any_case_and_only_in_this_head() {
        assert_eq!(
            scan("POST / HTTP/1.1\r\nHost: h\r\ncOntent-Length: 3\r\n\r\n", &[]),
            (true, true)
        );
        assert_eq!(scan("\r\nPOST / HTTP/1.1\nContent-Length: 3\n\n", &[]), (true, true));
        assert_eq!(
            scan("POST / HTTP/1.1\r\nHost: h\r\n\r\nContent-Length: 3\r\n", &[]),
            (false, true)
        );
        assert_eq!(scan("POST / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n", &[]), (false, true));
        assert_eq!(scan("POST / HTTP/1.1\r\nHost: h\r\n", &[]), (false, false));
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_packet_boundaries(
            cuts in prop::collection::vec(0usize..20, 0..12),
        ) {
            let head = "POST /webhook/a HTTP/1.1\r\nHost: h\r\n\
                        CONTENT-LENGTH:10\r\nX: y\r\n\r\nbody\n\n";
            prop_assert_eq!(scan(head, &cuts), (true, true));
        }
    }
}
