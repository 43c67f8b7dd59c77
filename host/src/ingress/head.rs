//! The head of a request, judged before anything of its body is read. Pure.

use http::header::{CONTENT_ENCODING, HOST, HeaderMap, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Uri, Version};

use super::refused::Refused;

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// A webhook for the source of this name.
    Webhook(&'a str),
    /// Is the process alive?
    Live,
    /// Does it take webhooks?
    Ready,
}

/// Reads the path. What follows the source is for schemes that sign the URL and means nothing to us.
pub(super) fn purpose(uri: &Uri) -> Result<Purpose<'_>, Refused> {
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
        // A proxy before us may have decoded `%2f` and decided by another path than this one.
        return Err(Refused::Malformed("the name of the source must not be percent-encoded"));
    }
    Ok(Purpose::Webhook(source))
}

/// Checks everything about the head that does not depend on the source.
///
/// `one_length` says that the head, as it came over the wire, did not announce its length in two ways.
pub(super) fn check(head: &Parts, one_length: bool) -> Result<(), Refused> {
    let headers = &head.headers;
    if let Some(coding) = headers.get(TRANSFER_ENCODING) {
        if !one_length {
            return Err(Refused::Malformed(
                "Content-Length and Transfer-Encoding contradict each other",
            ));
        }
        let several = headers.get_all(TRANSFER_ENCODING).iter().nth(1).is_some();
        if several || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refused::Malformed(
                "no other Transfer-Encoding than chunked is understood",
            ));
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

/// In HTTP/2 the authority is the host; one that is named besides has to be the same.
fn is_one_host(head: &Parts) -> bool {
    let (authority, host) = (head.uri.authority(), head.headers.get(HOST));
    authority.is_none_or(|authority| {
        host.is_some_and(|host| authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    })
}

/// About how much memory headers take, in bytes.
pub(super) fn bytes(headers: &HeaderMap) -> usize {
    const OF_AN_ENTRY: usize = 64;
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OF_AN_ENTRY).sum()
}

/// The URL that the sender was given: the source's own with the request's query, or the server's with the
/// request's path and query as received, or what the request itself says.
pub(super) fn public_url(
    of_source: Option<&str>,
    of_server: Option<&str>,
    head: &Parts,
    is_secure: bool,
) -> String {
    let asked = head.uri.path_and_query().map_or("/", |p| p.as_str());
    match (of_source, of_server) {
        (Some(url), _) => match head.uri.query() {
            Some(query) => [url, "?", query].concat(),
            None => url.to_owned(),
        },
        (None, Some(url)) => [url, asked].concat(),
        (None, None) => {
            let host = head.headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
            let host = head.uri.authority().map_or(host, |a| a.as_str());
            let scheme = if is_secure { "https://" } else { "http://" };
            [scheme, host, asked].concat()
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
        check(&head("/webhook/a", headers), true).err().map(|r| r.status())
    }

    #[test]
    fn the_source_is_the_second_part_of_the_path() {
        let of = |path: &'static str| {
            purpose(&path.parse::<Uri>().unwrap()).map(|p| format!("{p:?}")).ok()
        };
        assert_eq!(of("/webhook/github").unwrap(), r#"Webhook("github")"#);
        assert_eq!(of("/webhook/github/a%2fb/c?x=1").unwrap(), r#"Webhook("github")"#);
        assert_eq!(of("/webhook/").unwrap(), r#"Webhook("")"#, "which no source is called");
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
        assert!(check(&head, true).is_ok());
        assert_eq!(check(&head, false).unwrap_err().code(), "malformed");
        assert_eq!(refused(&[("host", "h"), ("transfer-encoding", "gzip, chunked")]).unwrap(), 400);
    }

    #[test]
    fn one_host_and_no_more() {
        assert_eq!(refused(&[("host", "h")]), None);
        assert_eq!(refused(&[("host", "h"), ("host", "h")]).unwrap(), 400);
        assert_eq!(refused(&[]).unwrap(), 400);
    }

    #[test]
    fn in_http_2_the_authority_is_the_host_and_may_not_differ_from_it() {
        let check = |uri: &str, headers: &[(&str, &str)]| {
            let mut head = head(uri, headers);
            head.version = Version::HTTP_2;
            super::check(&head, true).map_err(|refused| refused.code())
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
    fn the_url_that_was_signed_is_the_one_the_sender_knows() {
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
