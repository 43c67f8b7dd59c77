//! The `sqs` and `sns` kinds: a queue or a topic of AWS, or of a server with the same interface.
//! The endpoint, the region and the keys of both are here.

mod sns;
mod sqs;

use http::Uri;
use weir_core::verify::Secret;

pub use sns::SnsSettings;
pub(super) use sns::read as read_sns;
pub use sqs::SqsSettings;
pub(in crate::config) use sqs::read as read_sqs;

use super::DestinationDefaults;
use super::server::{self, BrokerServer};
use crate::config::context::LoadContext;
use crate::config::secret;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

/// Longest id of a key, in bytes, as the API of IAM limits it.
const KEY_ID_BYTES_MAX: usize = 128;
/// Longest name of a region, in bytes. Those that exist have 20 at most.
const REGION_BYTES_MAX: usize = 40;
/// The suffix of queues and topics that keep an order.
const FIFO: &str = ".fifo";

/// The way to a service of AWS, and the keys that sign requests.
#[derive(Debug, Clone)]
pub struct AwsAccount {
    pub server: BrokerServer,
    pub region: Box<str>,
    pub access_key_id: Box<str>,
    pub secret_access_key: Secret,
    /// Comes with keys that end after a time.
    pub session_token: Option<Secret>,
}

impl AwsAccount {
    pub(in crate::config) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.secret_access_key).chain(&self.session_token)
    }
}

/// The facts about an account that the name of a queue or topic says.
struct NamedPlace {
    endpoint: Option<Uri>,
    region: Option<String>,
}

/// Reads the account. `key` is the setting that names the queue or topic, and `place` what it says.
fn account(
    section: &mut Section<'_>,
    key: &'static str,
    place: Option<NamedPlace>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<AwsAccount> {
    let (endpoint_key, endpoint) = match server::own_endpoint(section) {
        Some(own) => ("endpoint", own),
        None => (key, place.as_ref().and_then(|place| place.endpoint.clone())),
    };
    let region = region(section, key, place.as_ref());
    let access_key_id = access_key_id(section, context);
    let secret_access_key = required(section, "secret_access_key", context);
    let session_token = session_token(section, context);
    let server =
        server::at_endpoint(section, (endpoint_key, endpoint.as_ref()), defaults, trust, context);
    // The name itself was wrong.
    place?;
    if endpoint.is_none() {
        section.problem("endpoint", "is needed, because the name does not say where the server is");
        return None;
    }
    Some(AwsAccount {
        server: server?,
        region: region?.into(),
        access_key_id: access_key_id?.into(),
        secret_access_key: secret_access_key?,
        session_token: session_token?,
    })
}

fn region(section: &mut Section<'_>, key: &str, place: Option<&NamedPlace>) -> Option<String> {
    let is_name = |text: &str| {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !text.is_empty() && text.len() <= REGION_BYTES_MAX && text.chars().all(is_allowed)
    };
    let own = section.maybe::<String>("region");
    if section.has("region") {
        return match own.filter(|text| is_name(text)) {
            Some(region) => Some(region),
            None => {
                section.problem("region", "must be the name of a region, such as \"eu-west-1\"");
                None
            }
        };
    }
    let said = place?.region.clone();
    if said.is_none() {
        section.problem("region", format!("is missing: {key} does not say it"));
    }
    said
}

/// The id of the key. It is no secret, but is often in a variable beside one.
fn access_key_id(section: &mut Section<'_>, context: &LoadContext<'_>) -> Option<String> {
    const KEY: &str = "access_key_id";
    let id = if section.is_table(KEY) {
        let given = secret::one(section, KEY, context)?;
        String::from_utf8_lossy(given.expose()).into_owned()
    } else {
        section.must::<String>(KEY)?
    };
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ',' | '=');
    if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !id.chars().all(is_allowed) {
        section.problem(KEY, "is not the id of an access key, such as \"AKIA…\"");
        return None;
    }
    Some(id)
}

fn required(
    section: &mut Section<'_>,
    key: &'static str,
    context: &LoadContext<'_>,
) -> Option<Secret> {
    section.mark_read(key);
    if !section.has(key) {
        section.problem(key, "is missing");
        return None;
    }
    secret::one(section, key, context)
}

/// The optional token. The outer `None` is one that cannot be used.
fn session_token(section: &mut Section<'_>, context: &LoadContext<'_>) -> Option<Option<Secret>> {
    const KEY: &str = "session_token";
    section.mark_read(KEY);
    if !section.has(KEY) {
        return Some(None);
    }
    let token = secret::one(section, KEY, context)?;
    if !token.expose().iter().all(u8::is_ascii_graphic) {
        section.problem(KEY, "must be printable ASCII without spaces, because it is a header");
        return None;
    }
    Some(Some(token))
}

/// The region in the host of an endpoint of AWS; none for other servers.
fn region_of_host(host: &str) -> Option<String> {
    const SUFFIXES: [&str; 4] =
        [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"];
    let host = host.to_ascii_lowercase();
    let before = SUFFIXES.into_iter().find_map(|suffix| host.strip_suffix(suffix))?;
    before.split('.').find(|label| looks_like_region(label)).map(str::to_owned)
}

/// True for three words or more, of which the last is a number.
fn looks_like_region(label: &str) -> bool {
    let words: Vec<&str> = label.split('-').collect();
    let [before @ .., last] = &words[..] else { return false };
    let is_word = |word: &&str| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase());
    before.len() >= 2
        && before.iter().all(is_word)
        && !last.is_empty()
        && last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod testing {
    //! Settings from text, for the tests of both kinds.

    use std::path::Path;

    use crate::config::load::from_text;
    use crate::config::{Mode, TransportSettings};

    const KEYS: &str = "access_key_id = { env = \"ID\" }\nsecret_access_key = { env = \"KEY\" }";

    fn read(settings: &str) -> Result<TransportSettings, Vec<String>> {
        let variable = |name: &str| match name {
            "ID" => Some("AKIDEXAMPLE".into()),
            "KEY" => Some("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            "SPACED" => Some("a b".into()),
            _ => None,
        };
        let text = format!("[destinations.out]\n{settings}\n");
        match from_text("weir.toml", &text, Path::new(""), &variable, Mode::Production) {
            Ok((mut config, _)) => {
                let out = config.destinations.remove("out").unwrap();
                Ok(std::sync::Arc::into_inner(out).unwrap().transport)
            }
            Err(errors) => {
                let paths = errors.problems.into_iter().map(|problem| problem.path);
                Err(paths.map(|path| path.replace("destinations.out.", "")).collect())
            }
        }
    }

    /// The settings, with keys.
    pub(super) fn with_keys(settings: &str) -> TransportSettings {
        read(&format!("{settings}\n{KEYS}")).unwrap()
    }

    /// The paths of the problems, with keys unless the settings have some.
    pub(super) fn problems(settings: &str) -> Vec<String> {
        let keys = if settings.contains("access_key") { "" } else { KEYS };
        read(&format!("{settings}\n{keys}")).unwrap_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_aws_says_its_region() {
        for (host, region) in [
            ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
            ("sqs.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("sqs.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("sqs-fips.us-east-2.amazonaws.com", "us-east-2"),
            ("ap-southeast-2.queue.amazonaws.com", "ap-southeast-2"),
            ("vpce-0f1.sqs.us-east-1.vpce.amazonaws.com", "us-east-1"),
            ("sqs.us-east-1.api.aws", "us-east-1"),
        ] {
            assert_eq!(region_of_host(host).as_deref(), Some(region), "{host}");
        }
        for host in ["queue.amazonaws.com", "my-host-1.example.com", "localhost", "10.0.0.1"] {
            assert_eq!(region_of_host(host), None, "{host}");
        }
    }
}
