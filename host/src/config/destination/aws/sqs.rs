//! The `sqs` kind: a queue, by its URL.

use http::Uri;

use super::super::DestinationDefaults;
use super::{AwsAccount, FIFO, NamedPlace, account, region_of_host};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::config::url::endpoint;
use crate::tls::TrustedRoots;

/// A queue of SQS.
#[derive(Debug, Clone)]
pub struct SqsSettings {
    pub account: AwsAccount,
    pub queue_url: String,
    /// The last part of the URL.
    pub queue: Box<str>,
    /// True if the queue keeps the order of each group.
    pub is_fifo: bool,
}

/// Reads the queue, and the account that it is asked with.
pub(in crate::config) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<SqsSettings> {
    let url = section.must::<String>("queue_url").and_then(|text| match parsed(&text) {
        Ok((uri, queue)) => Some((text, uri, queue)),
        Err(what) => {
            section.problem("queue_url", what);
            None
        }
    });
    let place = url.as_ref().map(|(_, uri, _)| NamedPlace {
        region: uri.host().and_then(region_of_host),
        endpoint: Some(uri.clone()),
    });
    let account = account(section, "queue_url", place, defaults, trust, context);
    let (queue_url, _, queue) = url?;
    let is_fifo = queue.ends_with(FIFO);
    Some(SqsSettings { account: account?, queue_url, queue, is_fifo })
}

/// The URL of a queue, with its name.
fn parsed(text: &str) -> Result<(Uri, Box<str>), String> {
    let example = "\"https://sqs.eu-west-1.amazonaws.com/123456789012/orders\"";
    let uri = endpoint(text).map_err(|_| format!("is not a URL of a queue, such as {example}"))?;
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    if name.is_empty() || uri.query().is_some() {
        return Err(format!("does not end with the name of a queue; write one such as {example}"));
    }
    let name = name.into();
    Ok((uri, name))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, with_keys};
    use super::*;
    use crate::config::TransportSettings;

    fn sqs(settings: &str) -> SqsSettings {
        match with_keys(&format!("kind = \"sqs\"\n{settings}")) {
            TransportSettings::Sqs(sqs) => *sqs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_queue_url_says_the_rest() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo";
        let made = sqs(&format!("queue_url = \"{url}\""));
        assert_eq!((made.queue_url.as_str(), &*made.queue), (url, "orders.fifo"));
        let AwsAccount { server, region, access_key_id, .. } = &made.account;
        assert_eq!(server.address(), "https://sqs.eu-west-1.amazonaws.com:443");
        assert_eq!((&**region, &**access_key_id), ("eu-west-1", "AKIDEXAMPLE"));
        assert!(made.is_fifo && server.tls);
        let shown = format!("{made:?}");
        assert!(!shown.contains("wJalr"), "{shown}");
    }

    #[test]
    fn another_server_has_an_endpoint_and_a_region() {
        let made = sqs("queue_url = \"http://localhost:9324/0/orders\"\nregion = \"elasticmq\"");
        assert_eq!(made.account.server.address(), "http://localhost:9324");
        let made = sqs("queue_url = \"https://sqs.eu-west-1.amazonaws.com/1/a\"\n\
                        endpoint = \"http://10.0.0.7:4566\"");
        assert_eq!(made.account.server.address(), "http://10.0.0.7:4566");
        assert_eq!(&*made.account.region, "eu-west-1");
        assert!(!made.is_fifo);
    }

    #[test]
    fn mistakes_are_named() {
        let queue = "queue_url = \"https://sqs.eu-west-1.amazonaws.com/1/a\"";
        for (settings, path) in [
            ("", "queue_url"),
            ("queue_url = \"orders\"", "queue_url"),
            ("queue_url = \"https://sqs.eu-west-1.amazonaws.com/\"", "queue_url"),
            ("queue_url = \"http://localhost:9324/0/orders\"", "region"),
            (&format!("{queue}\nregion = \"Europe\""), "region"),
            (&format!("{queue}\nendpoint = \"http://h/path\""), "endpoint"),
            (&format!("{queue}\naccess_key_id = \"AKID\""), "secret_access_key"),
            (&format!("{queue}\nsecret_access_key = {{ env = \"KEY\" }}"), "access_key_id"),
            (&format!("{queue}\naccess_key_id = {{ env = \"SPACED\" }}"), "access_key_id"),
            (&format!("{queue}\nsession_token = {{ env = \"SPACED\" }}"), "session_token"),
            (&format!("{queue}\nspeed = 1"), "speed"),
        ] {
            let found = problems(&format!("kind = \"sqs\"\n{settings}"));
            assert!(found.iter().any(|problem| problem == path), "{settings}: {found:?}");
        }
    }
}
