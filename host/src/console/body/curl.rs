//! A request as a command line of curl, for a POSIX shell. Pure.
//!
//! It never holds a secret: a header that was masked when it was stored becomes a variable that the
//! operator sets.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest body that a command line carries, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Headers that curl or the connection makes itself.
const OWN: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect"];

/// A header as it was stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredHeader<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a [u8],
    /// True if the value was replaced when it was stored.
    pub(super) is_masked: bool,
}

/// The command that sends a request again. None if the body is too long for a command line.
#[must_use]
pub(super) fn curl(
    method: &str,
    url: &str,
    headers: &[StoredHeader<'_>],
    body: &[u8],
) -> Option<String> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let mut out = String::new();
    let is_text = std::str::from_utf8(body).is_ok_and(|text| !text.contains(is_unprintable));
    if !is_text {
        // Writing to a string cannot fail.
        let _ = write!(out, "printf %s {} | base64 -d | ", quoted(&STANDARD.encode(body)));
    }
    out.push_str("curl --globoff");
    // The method that curl chooses by itself.
    let implied = if body.is_empty() { "GET" } else { "POST" };
    if method != implied {
        let _ = write!(out, " -X {}", quoted(method));
    }
    let _ = write!(out, " {}", quoted(url));
    for header in headers {
        if OWN.iter().any(|own| header.name.eq_ignore_ascii_case(own)) {
            continue;
        }
        out.push_str(" \\\n  -H ");
        match std::str::from_utf8(header.value) {
            _ if header.is_masked => {
                let name = quoted(&format!("{}: ", header.name));
                let _ = write!(out, "{name}\"${}\"", variable(header.name));
            }
            // An empty value needs curl's own form.
            Ok("") => out.push_str(&quoted(&format!("{};", header.name))),
            Ok(value) if !value.contains(is_unprintable) => {
                out.push_str(&quoted(&format!("{}: {value}", header.name)));
            }
            _ => {
                let encoded = quoted(&STANDARD.encode(header.value));
                let name = quoted(&format!("{}: ", header.name));
                let _ = write!(out, "{name}\"$(printf %s {encoded} | base64 -d)\"");
            }
        }
    }
    match (is_text, body) {
        (_, b"") => {}
        (true, body) => {
            let text = String::from_utf8_lossy(body);
            let _ = write!(out, " \\\n  --data-raw {}", quoted(&text));
        }
        (false, _) => out.push_str(" \\\n  --data-binary @-"),
    }
    Some(out)
}

/// Characters that a terminal might act on when the command is pasted.
fn is_unprintable(c: char) -> bool {
    let mut text = [0; 4];
    let text = &*c.encode_utf8(&mut text);
    crate::program::printable::block(text) != text
}

/// A word for a POSIX shell, in single quotes unless it is plain.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,%@+".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) && !text.starts_with(['-', '=']) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The variable that holds a masked header.
fn variable(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(upper).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn header<'a>(name: &'a str, value: &'a [u8]) -> StoredHeader<'a> {
        StoredHeader { name, value, is_masked: false }
    }

    #[test]
    fn a_request_becomes_one_command() {
        let headers = [
            header("host", b"hub.example"),
            header("content-type", b"application/json"),
            header("x-quote", b"it's"),
            StoredHeader { is_masked: true, ..header("x-api-key", b"fingerprint-0a") },
        ];
        let command = curl("POST", "https://a.example/webhook/x?a=1&b=2", &headers, b"{\"a\":1}");
        assert_eq!(
            command.unwrap(),
            "curl --globoff 'https://a.example/webhook/x?a=1&b=2' \\\n  \
             -H 'content-type: application/json' \\\n  -H 'x-quote: it'\\''s' \\\n  \
             -H 'x-api-key: '\"$X_API_KEY\" \\\n  --data-raw '{\"a\":1}'"
        );
    }

    #[test]
    fn binary_is_piped_in_and_long_bodies_have_no_command() {
        let command = curl("POST", "http://a/", &[], b"\x00\xff").unwrap();
        assert_eq!(
            command,
            "printf %s AP8= | base64 -d | curl --globoff http://a/ \\\n  --data-binary @-"
        );
        assert_eq!(curl("POST", "http://a/", &[], &vec![0; BODY_BYTES_MAX + 1]), None);
        assert_eq!(curl("GET", "http://a/", &[], b"").unwrap(), "curl --globoff http://a/");
        assert_eq!(
            curl("POST", "http://a/", &[], b"").unwrap(),
            "curl --globoff -X POST http://a/"
        );
    }

    /// The arguments and the input that a shell gives to curl.
    fn run(command: &str) -> (Vec<Vec<u8>>, Vec<u8>) {
        let script = format!(
            "curl() {{ printf '%s\\000' \"$@\"; case \"$*\" in *@-) printf '\\000'; cat;; esac; }}\n{command}"
        );
        let out = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
        let mut parts = out.splitn(2, |_| false);
        let all = parts.next().unwrap_or_default();
        match all.windows(2).position(|pair| pair == [0, 0]) {
            Some(at) => (words(&all[..at]), all[at + 2..].to_vec()),
            None => (words(all.strip_suffix(&[0]).unwrap_or(all)), Vec::new()),
        }
    }

    fn words(bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_shell_passes_on_exactly_what_was_sent(
            value in "[ -~]{1,40}",
            body in prop::collection::vec(prop_oneof![32_u8..127, any::<u8>()], 1..60),
        ) {
            let command = curl("POST", "http://a/", &[header("x-v", value.as_bytes())], &body).unwrap();
            let (arguments, input) = run(&command);
            let of = |flag: &[u8]| {
                let at = arguments.iter().position(|argument| argument == flag).unwrap();
                arguments[at + 1].clone()
            };
            prop_assert_eq!(of(b"-H"), format!("x-v: {value}").into_bytes());
            let sent = if input.is_empty() { of(b"--data-raw") } else { input };
            prop_assert_eq!(sent, body);
        }
    }
}
