//! Reserved headers: only the hub sets them on messages and replies. Handlers and the configuration of destinations may
//! not.

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

/// The same, by what they begin with. A receiver knows by `weir-` where an event is from.
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
    fn what_says_where_an_event_is_from_is_the_hubs_to_say() {
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
