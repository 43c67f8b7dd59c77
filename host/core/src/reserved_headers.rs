//! Reserved headers: only the hub sets them on messages and replies, never a handler or a
//! destination's configuration.

/// The header of a stored event with the method of its request; absent for `POST`.
pub const METHOD_HEADER: &str = "weir-method";
/// The header of a stored event with the path after its source.
pub const PATH_HEADER: &str = "weir-path";
/// The header of a stored event with the query of its request, its secrets replaced.
pub const QUERY_HEADER: &str = "weir-query";

/// Headers that frame the message, sign it, route it or trace it.
const RESERVED: &[&str] = &[
    "connection",
    "content-digest",
    "content-encoding",
    "content-length",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "signature",
    "signature-input",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Prefixes of reserved headers. Receivers trust `weir-` to tell the origin of an event.
const RESERVED_PREFIXES: &[&str] = &[
    "proxy-",
    "svix-",
    "webhook-",
    "weir-",
    "x-forwarded-",
    "x-hub-signature",
    "x-webhook-signature",
    "x-weir-",
];

/// True if only the hub may set this header; `name` in any case.
#[must_use]
pub fn reserved_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|p| name.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_frame_sign_or_route_are_reserved() {
        for name in [
            "weir-source",
            "Weir-Event-Type",
            "WEIR-event-id",
            "weir-",
            "X-Weir-Hops",
            "Webhook-Id",
            "svix-id",
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "traceparent",
            "Proxy-Authorization",
            "X-Hub-Signature-256",
        ] {
            assert!(reserved_header(name), "{name}");
        }
        for name in ["x-order", "weirdness", "x-weird", "authorization", "content-type", "hosts"] {
            assert!(!reserved_header(name), "{name}");
        }
    }
}
