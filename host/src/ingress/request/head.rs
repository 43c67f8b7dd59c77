//! Checks the head of a request before its body is read. Pure.

use http::header::{CONTENT_ENCODING, HOST, HeaderMap, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Uri, Version};

use crate::ingress::answer::refused::Refused;
use crate::ingress::connection::head_scanner::Framing;

/// The purpose of a request, by its path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// A webhook for the source of this name.
    Webhook(&'a str),
    /// A check that the process is alive.
    Live,
    /// A check that webhooks are accepted.
    Ready,
}

/// Reads the path. The part after the source only matters to schemes that sign the URL.
pub(crate) fn purpose(uri: &Uri) -> Result<Purpose<'_>, Refused> {
    let path = uri.path();
    let Some(rest) = path.strip_prefix("/webhook/") else {
        return match path {
            "/health/live" => Ok(Purpose::Live),
            "/health/ready" => Ok(Purpose::Ready),
            _ => Err(Refused::UnknownPath),
        };
    };
    let source = rest.split_once('/').map_or(rest, |(source, _)| source);
    if source.contains('%') {
        // A proxy in front of the hub may have decoded `%2f` and decided by another path.
        return Err(Refused::Malformed("the name of the source must not be percent-encoded"));
    }
    Ok(Purpose::Webhook(source))
}

/// Checks everything about the head that does not depend on the source. `framing` is from the raw
/// bytes.
pub(crate) fn check(head: &Parts, framing: Framing) -> Result<(), Refused> {
    let headers = &head.headers;
    if let Some(coding) = headers.get(TRANSFER_ENCODING) {
        if framing == Framing::Unknown {
            return Err(Refused::Malformed(
                "Content-Length and Transfer-Encoding contradict each other",
            ));
        }
        let several = headers.get_all(TRANSFER_ENCODING).iter().nth(1).is_some();
        if several || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refused::Malformed("the only supported Transfer-Encoding is chunked"));
        }
    }
    match (headers.get_all(HOST).iter().count(), head.version) {
        (1, Version::HTTP_2) if !is_one_host(head) => {
            return Err(Refused::Malformed("Host and :authority contradict each other"));
        }
        (1, _) | (0, Version::HTTP_10) => {}
        (0, Version::HTTP_2) if head.uri.authority().is_some() => {}
        (0, _) => return Err(Refused::Malformed("the Host header is missing")),
        _ => return Err(Refused::Malformed("the Host header occurs more than once")),
    }
    let mut codings = headers.get_all(CONTENT_ENCODING).iter().map(|v| v.as_bytes().trim_ascii());
    if !codings.all(|c| c.is_empty() || c.eq_ignore_ascii_case(b"identity")) {
        return Err(Refused::Encoding);
    }
    Ok(())
}

/// True unless a `Host` header differs from the authority, which is the host in HTTP/2.
fn is_one_host(head: &Parts) -> bool {
    let (authority, host) = (head.uri.authority(), head.headers.get(HOST));
    authority.is_none_or(|authority| {
        host.is_some_and(|host| authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    })
}

/// The approximate memory of headers, in bytes.
pub(crate) fn memory_bytes(headers: &HeaderMap) -> usize {
    const ENTRY_BYTES: usize = 64;
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ENTRY_BYTES).sum()
}

/// The URL that the sender was given: the source's with the request's query, or the server's with
/// the request's path and query, or the URL in the request itself.
pub(crate) fn public_url(
    of_source: Option<&str>,
    of_server: Option<&str>,
    head: &Parts,
    is_secure: bool,
) -> String {
    let path_and_query = head.uri.path_and_query().map_or("/", |p| p.as_str());
    match (of_source, of_server) {
        (Some(url), _) => match head.uri.query() {
            Some(query) => [url, "?", query].concat(),
            None => url.to_owned(),
        },
        (None, Some(url)) => [url, path_and_query].concat(),
        (None, None) => {
            let host = head.headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
            let host = head.uri.authority().map_or(host, |a| a.as_str());
            let scheme = if is_secure { "https://" } else { "http://" };
            [scheme, host, path_and_query].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request =
                request.header(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    fn refused(headers: &[(&str, &str)]) -> Option<StatusCode> {
        check(&head("/webhook/a", headers), Framing::Unambiguous).err().map(|r| r.status())
    }

    #[test]
    fn the_source_is_the_second_part_of_the_path() {
        let of = |path: &'static str| {
            purpose(&path.parse::<Uri>().unwrap()).map(|p| format!("{p:?}")).ok()
        };
        assert_eq!(of("/webhook/github").unwrap(), r#"Webhook("github")"#);
        assert_eq!(of("/webhook/github/a%2fb/c?x=1").unwrap(), r#"Webhook("github")"#);
        assert_eq!(of("/webhook/").unwrap(), r#"Webhook("")"#, "no source has this name");
        assert_eq!(of("/health/ready?x").unwrap(), "Ready");
        assert_eq!(of("/webhook"), None);
        assert_eq!(of("/webhooks/github"), None);
    }

    #[test]
    fn an_encoded_slash_in_the_source_is_refused_as_malformed() {
        let uri: Uri = "/webhook/github%2Fother".parse().unwrap();
        assert_eq!(purpose(&uri).unwrap_err().code(), "malformed");
    }

    #[test]
    fn a_length_announced_in_two_ways_is_refused() {
        let head = head("/webhook/a", &[("host", "h"), ("transfer-encoding", "chunked")]);
        assert!(check(&head, Framing::Unambiguous).is_ok());
        assert_eq!(check(&head, Framing::Unknown).unwrap_err().code(), "malformed");
        assert_eq!(refused(&[("host", "h"), ("transfer-encoding", "gzip, chunked")]).unwrap(), 400);
    }

    #[test]
    fn exactly_one_host_header_is_accepted() {
        assert_eq!(refused(&[("host", "h")]), None);
        assert_eq!(refused(&[("host", "h"), ("host", "h")]).unwrap(), 400);
        assert_eq!(refused(&[]).unwrap(), 400);
    }

    #[test]
    fn in_http_2_the_host_header_may_not_differ_from_the_authority() {
        let check = |uri: &str, headers: &[(&str, &str)]| {
            let mut head = head(uri, headers);
            head.version = Version::HTTP_2;
            super::check(&head, Framing::Unambiguous).map_err(|refused| refused.code())
        };
        assert_eq!(check("https://h:1/webhook/a", &[]), Ok(()));
        assert_eq!(check("https://h:1/webhook/a", &[("host", "H:1")]), Ok(()));
        assert_eq!(check("https://h:1/webhook/a", &[("host", "other:1")]), Err("malformed"));
        assert_eq!(check("/webhook/a", &[("host", "h:1")]), Ok(()));
        assert_eq!(check("/webhook/a", &[]), Err("malformed"));
    }

    #[test]
    fn a_compressed_body_is_refused() {
        assert_eq!(refused(&[("host", "h"), ("content-encoding", "gzip")]).unwrap(), 415);
        assert_eq!(refused(&[("host", "h"), ("content-encoding", "Identity")]), None);
    }

    #[test]
    fn the_signed_url_is_the_one_that_the_sender_was_given() {
        let head = head("/webhook/twilio/sms?a=%20b", &[("host", "inner:8080")]);
        let url = |source, server| public_url(source, server, &head, false);
        assert_eq!(url(None, None), "http://inner:8080/webhook/twilio/sms?a=%20b");
        assert!(public_url(None, None, &head, true).starts_with("https://inner:8080/"));
        assert_eq!(
            url(None, Some("https://x.example")),
            "https://x.example/webhook/twilio/sms?a=%20b"
        );
        assert_eq!(url(Some("https://y.example/in"), Some("z")), "https://y.example/in?a=%20b");
    }
}
