//! The `pubsub` kind: a topic of Google Cloud Pub/Sub, and the service account that may publish to
//! it.

use http::Uri;
use ring::signature::RsaKeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use weir_core::verify::Secret;

use super::DestinationDefaults;
use super::server::{self, BrokerServer};
use crate::config::context::LoadContext;
use crate::config::secret;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

const ENDPOINT: &str = "https://pubsub.googleapis.com";
/// Longest id of a topic, as the guide of resource names says.
const TOPIC_ID_MAX: usize = 255;

/// A topic of Pub/Sub.
#[derive(Debug, Clone)]
pub struct PubSubSettings {
    pub server: BrokerServer,
    /// `projects/PROJECT/topics/TOPIC`.
    pub topic: Box<str>,
    /// None for a server that asks for no credentials, which is an emulator.
    pub account: Option<ServiceAccount>,
}

/// A service account with one of its keys.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    pub email: Box<str>,
    pub key_id: Box<str>,
    /// An RSA key, as PKCS #8 in DER.
    pub private_key: Secret,
}

/// The file of a key, as Google's console and tools write it.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key_id: String,
    private_key: String,
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<PubSubSettings> {
    let topic = section.checked("topic", |name: &String| match is_topic(name) {
        true => Ok(()),
        false => {
            Err("is not the name of a topic, such as \"projects/my-project/topics/orders\"".into())
        }
    });
    let own = server::own_endpoint(section);
    let is_own = own.is_some();
    let endpoint = own.unwrap_or(Some(Uri::from_static(ENDPOINT)));
    let server =
        server::at_endpoint(section, ("endpoint", endpoint.as_ref()), defaults, trust, context);
    let account = account(section, is_own, context);
    Some(PubSubSettings { server: server?, topic: topic?.into(), account: account? })
}

/// The service account. The outer `None` is one that cannot be used.
fn account(
    section: &mut Section<'_>,
    is_own_endpoint: bool,
    context: &LoadContext<'_>,
) -> Option<Option<ServiceAccount>> {
    const KEY: &str = "credentials";
    section.mark_read(KEY);
    if !section.has(KEY) {
        if is_own_endpoint {
            return Some(None);
        }
        let what = "is missing: name the key file of a service account, credentials = { file = \
                    \"key.json\" }; only an emulator, which has an endpoint, needs none";
        section.problem(KEY, what);
        return None;
    }
    let given = secret::one(section, KEY, context)?;
    match service_account(given.expose()) {
        Ok(account) => Some(Some(account)),
        Err(what) => {
            section.problem(KEY, what);
            None
        }
    }
}

/// The account in a key file. No error repeats anything of the file.
fn service_account(file: &[u8]) -> Result<ServiceAccount, &'static str> {
    let Ok(file) = serde_json::from_slice::<KeyFile>(file) else {
        return Err("is not the key file of a service account: JSON with type, client_email, \
                    private_key_id and private_key");
    };
    if file.kind != "service_account" {
        return Err("is a file with credentials of another type; make a key of a service account");
    }
    let key = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes());
    let Some(key) = key.ok().filter(|key| {
        let key = key.secret_pkcs8_der();
        RsaKeyPair::from_pkcs8(key).is_ok()
    }) else {
        return Err("has a private_key that is not an RSA key in PEM; download the file again");
    };
    Ok(ServiceAccount {
        email: file.client_email.into(),
        key_id: file.private_key_id.into(),
        private_key: Secret::new(key.secret_pkcs8_der()),
    })
}

/// The form of the guide of resource names: an id begins with a letter, and has three characters or
/// more. The project may have its domain before it.
fn is_topic(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let ["projects", project, "topics", topic] = parts[..] else { return false };
    let in_project = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
    let in_topic = |b: u8| b.is_ascii_alphanumeric() || b"-._~+%".contains(&b);
    !project.is_empty()
        && project.bytes().all(in_project)
        && (3..=TOPIC_ID_MAX).contains(&topic.len())
        && topic.starts_with(|c: char| c.is_ascii_alphabetic())
        && topic.bytes().all(in_topic)
}

#[cfg(test)]
pub(super) mod testing {
    //! Key files for tests.

    const KEY: &str = include_str!("../../../core/tests/providers/rsa-private.pem");

    /// A key file that can be used.
    pub(in crate::config) fn key_file() -> String {
        key_file_with("service_account", KEY)
    }

    pub(super) fn key_file_with(kind: &str, key: &str) -> String {
        serde_json::json!({ "type": kind, "client_email": "hub@shop-1.iam.gserviceaccount.com",
            "private_key_id": "k1", "private_key": key, "project_id": "shop-1" })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::testing::{key_file, key_file_with};
    use super::*;
    use crate::config::load::from_text;
    use crate::config::{Mode, TransportSettings};

    const TOPIC: &str = "topic = \"projects/shop-1/topics/orders\"";

    fn read(settings: &str, file: &str) -> Result<PubSubSettings, Vec<String>> {
        let text = format!("[destinations.out]\nkind = \"pubsub\"\n{settings}\n");
        let variable = |_: &str| Some(file.to_owned().into());
        match from_text("weir.toml", &text, Path::new(""), &variable, Mode::Production) {
            Ok((mut config, _)) => {
                let out = Arc::into_inner(config.destinations.remove("out").unwrap()).unwrap();
                let TransportSettings::PubSub(settings) = out.transport else {
                    panic!("another kind")
                };
                Ok(*settings)
            }
            Err(errors) => Err(errors.problems.into_iter().map(|p| p.to_string()).collect()),
        }
    }

    #[test]
    fn a_topic_has_its_project() {
        for name in ["projects/shop-1/topics/orders", "projects/example.com:shop/topics/a+b%7E.c"] {
            assert!(is_topic(name), "{name}");
        }
        for name in
            ["orders", "projects/a/topics/1ab", "projects/a/topics/ab", "projects//topics/abc"]
        {
            assert!(!is_topic(name), "{name}");
        }
    }

    #[test]
    fn an_emulator_needs_no_credentials() {
        let made = read(&format!("{TOPIC}\nendpoint = \"http://localhost:8085\""), "").unwrap();
        assert!(made.account.is_none());
        assert_eq!(made.server.address(), "http://localhost:8085");
        let said = read(TOPIC, "").unwrap_err().join(" ");
        assert!(said.contains("key file of a service account"), "{said}");
    }

    #[test]
    fn a_key_file_says_the_account() {
        let settings = format!("{TOPIC}\ncredentials = {{ env = \"KEY\" }}");
        let made = read(&settings, &key_file()).unwrap();
        assert_eq!(made.server.address(), "https://pubsub.googleapis.com:443");
        let account = made.account.unwrap();
        assert_eq!(
            (&*account.email, &*account.key_id),
            ("hub@shop-1.iam.gserviceaccount.com", "k1")
        );
    }

    #[test]
    fn a_key_file_that_cannot_be_used_is_refused_and_not_repeated() {
        let settings = format!("{TOPIC}\ncredentials = {{ env = \"KEY\" }}");
        for (file, what) in [
            ("hunter2".to_owned(), "JSON with type"),
            (key_file_with("authorized_user", "hunter2"), "another type"),
            (key_file_with("service_account", "hunter2"), "not an RSA key"),
        ] {
            let said = read(&settings, &file).unwrap_err().join(" ");
            assert!(said.contains(what) && !said.contains("hunter2"), "{said}");
        }
    }
}
