//! The advice about a step of a probe that failed, or that needs attention. Pure.

use std::time::Duration;

use http::StatusCode;
use weir_core::time::Timestamp;
use weir_core::units::format_duration;

use super::StepName;
use crate::guard::Blocked;

/// A certificate that ends within this time needs attention: most are renewed a month before.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

pub(super) const DNS: &str = "check the spelling of the host, and that this machine's resolver knows \
    it: names inside a network need that network's resolver";
pub(super) const SOME_ADDRESSES: &str = "some addresses of the name do not answer, so connections \
    start late; remove them from DNS or let them answer";
pub(super) const NO_ANSWER: &str = "something listens there and does not speak HTTP in this form: \
    check the port, and whether the URL needs https:// or http://";

/// The advice about a step that did not end in time.
pub(super) const fn too_slow(step: StepName) -> &'static str {
    match step {
        StepName::Dns => "the resolver does not answer: check /etc/resolv.conf and the network",
        StepName::Guard | StepName::Tcp => {
            "packets get no answer: a firewall drops them, or the host is off"
        }
        StepName::Tls => {
            "the server accepts connections and does not finish the TLS handshake: \
            check that the port speaks TLS"
        }
        StepName::Http => {
            "the server reads the request and does not answer: it is busy or stuck; \
            a sender would give up too. --timeout waits longer"
        }
    }
}

/// The advice about an address that destinations refuse.
pub(super) fn blocked(blocked: &Blocked) -> String {
    match blocked.special.word() {
        Some(word) => format!(
            "a destination with this URL needs allow = [\"{word}\"]; give --allow {word} here to \
             probe as it would connect"
        ),
        None => "nothing may be sent to such an address; check what the name resolves to".into(),
    }
}

/// The advice about connections that failed, by their reasons.
pub(super) fn not_connected(reasons: &str) -> &'static str {
    let reasons = reasons.to_ascii_lowercase();
    if reasons.contains("refused") {
        "the host is there and nothing listens on this port: start the server, or check the port"
    } else if reasons.contains("unreachable") {
        "there is no way to the host from this machine: check routes, and IPv6 if the address is one"
    } else {
        "packets get no answer: a firewall drops them, or the host is off"
    }
}

/// The advice about a handshake that failed, by its reason.
pub(super) fn handshake(reason: &str) -> &'static str {
    let reason = reason.to_ascii_lowercase();
    if reason.contains("expired") {
        "renew the certificate of the server"
    } else if reason.contains("not valid for name") || reason.contains("notvalidforname") {
        "the certificate is for another name: use the name that it is for, or get one for this name"
    } else if reason.contains("unknownissuer") {
        "no known authority vouches for the certificate: let the server send the whole chain; for \
         your own authority give --ca FILE here and ca = \"FILE\" on the destination"
    } else if reason.contains("not valid yet") || reason.contains("notvalidyet") {
        "the certificate begins later: check the clocks of both machines"
    } else if reason.contains("corrupt message") || reason.contains("invalidcontenttype") {
        "the port does not speak TLS: write http://, or the port that speaks TLS"
    } else {
        "the server ended the handshake: check its TLS versions and its log"
    }
}

/// The advice about a certificate that ends soon; none if it does not.
pub(super) fn ends_soon(end: Timestamp, now: Timestamp) -> Option<String> {
    let left = end.since(now);
    (left < ENDS_SOON).then(|| {
        let hours = Duration::from_secs(left.as_secs() / 3_600 * 3_600);
        format!("the certificate ends in {}; renew it", format_duration(hours))
    })
}

/// The advice about the answer to an event; none if the event was accepted.
pub(super) fn status(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        200..=299 => return None,
        300..=399 => "the URL leads elsewhere, and senders follow no redirects: use the last URL",
        401 | 403 => {
            "the endpoint does not accept the signature: compare the secret at both ends, the \
             provider, and for providers that sign the URL the URL; then the clocks"
        }
        404 | 410 => {
            "nothing takes webhooks at this path: check the path and the name of the source"
        }
        405 => "the path takes another method: check the path",
        408 | 504 => "the endpoint took too long: it should store the event and answer at once",
        413 => "the endpoint refuses bodies of this size: raise its limit",
        415 => "the endpoint refuses this content type: check the provider",
        429 => "the endpoint takes fewer requests than come: raise its limit, or wait",
        400..=499 => "the endpoint refuses the event: its answer says why",
        _ => "the endpoint fails: see its log",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_own_advice() {
        assert!(not_connected("Connection refused (os error 111)").contains("nothing listens"));
        assert!(not_connected("Network is unreachable").contains("no way"));
        let shown = |reason: &str| handshake(&format!("invalid peer certificate: {reason}"));
        assert!(shown("certificate expired").contains("renew"));
        assert!(shown("UnknownIssuer").contains("--ca"));
        assert!(shown("certificate not valid for name \"a\"").contains("another name"));
        assert!(status(StatusCode::OK).is_none());
        for code in [301, 401, 404, 405, 413, 418, 429, 500] {
            assert!(status(StatusCode::from_u16(code).unwrap()).is_some(), "{code}");
        }
    }

    #[test]
    fn a_certificate_needs_attention_in_its_last_two_weeks() {
        let now = Timestamp::from_millis(1_760_000_000_000);
        let days = |days: u64| now.after(Duration::from_secs(days * 86_400));
        assert_eq!(ends_soon(days(15), now), None);
        assert!(ends_soon(days(13), now).unwrap().contains("13d"));
    }
}
