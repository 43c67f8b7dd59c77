//! Keys that the sender publishes: which addresses are allowed, and how long a fetched key is
//! trusted. Fetches nothing: it says what to fetch, and checks what was fetched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::chain::{
    Authorities, CERTIFICATES_MAX, CertificateChain, ChainOutcome, issuer, pem_certificates,
};
use super::key::KeyError;
use super::public_key::{KEY_DOCUMENT_BYTES_MAX, KeySet, PublishedKey};
use super::scheme::{fill_params, param_names};
use super::web_address::{HostPattern, PathPattern, is_key_url, is_named_for, is_plain_segment};
use super::{Params, Secret, VerifyError};
use crate::json_pointer::Pointer;
use crate::request::RequestView;
use crate::selector::Selector;
use crate::time::{Timestamp, millis};

/// The life of a fetched key. Providers rotate keys within days and announce it before.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The age from which a key set is fetched again because a key is missing in it. Without this
/// limit, a sender that names random keys could cause endless fetches.
pub const KEY_REFRESH_AFTER: Duration = Duration::from_secs(60);

/// The place where the keys of a scheme are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedKeyRule {
    pub at: KeyAddress,
    /// Hosts from which keys are accepted.
    pub hosts: Vec<HostPattern>,
    /// The pattern of the address's path.
    pub path: Option<PathPattern>,
    pub document: KeyDocument,
    /// A certificate must be for one of these names; empty if keys come without certificates.
    pub names: Vec<HostPattern>,
    /// A body to post for a key, with `{param:NAME}` and `{key-id}`; `None` uses `GET`.
    pub post: Option<Box<str>>,
    /// The pointer to the key in the response.
    pub inside: Option<Pointer>,
}

/// The address of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyAddress {
    /// A fixed address, which may contain `{param:NAME}`.
    Fixed(Box<str>),
    /// The address is read from the request, so it is not trusted.
    InRequest(Selector),
}

/// The kind of a published document. A document of another kind is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyDocument {
    /// A JSON Web Key, or a set of JSON Web Keys.
    WebKeys,
    /// A public key in PEM.
    PublicKey,
    /// One certificate in PEM.
    Certificate,
    /// A certificate in PEM, followed by those of its issuers.
    Certificates,
}

/// A key to fetch. The hub fetches it through the guarded client, within the time and size limits
/// of keys, and follows no redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    pub scheme: Arc<str>,
    /// The address: `https`, on one of the hosts that the provider's file allows.
    pub url: String,
    /// A JSON body to post; `None` uses `GET`.
    pub post: Option<Secret>,
    /// The id of the key, if keys have ids.
    pub key_id: Option<String>,
    inside: Option<Pointer>,
    document: KeyDocument,
}

/// A fetched document, and what it is checked against.
#[derive(Debug, Clone, Copy)]
pub struct FetchedDocument<'a> {
    pub document: &'a [u8],
    /// The issuers' certificates that were fetched for it, as [`KeyAnswer::NeedIssuer`] asked.
    pub issuers: &'a [Vec<u8>],
    /// The trusted certificate authorities.
    pub authorities: &'a Authorities,
    pub now: Timestamp,
}

/// The result of reading a document.
#[derive(Debug, PartialEq, Eq)]
pub enum KeyAnswer {
    Keys(KeySet),
    /// The issuer's certificate must be fetched from this address first. The address need not be
    /// trusted: a certificate counts only if an authority signed it.
    NeedIssuer(String),
}

impl KeyRef {
    /// The key of the cache entry: two references with the same cache key name the same document.
    #[must_use]
    pub fn cache_key(&self) -> String {
        match (&self.post, &self.key_id) {
            (Some(_), Some(id)) => format!("{}#{id}", self.url),
            _ => self.url.clone(),
        }
    }

    /// Reads the fetched document. A certificate must lead to one of the authorities.
    ///
    /// # Errors
    /// [`KeyError::is_distrust`] separates a certificate that is not trusted from a document that
    /// cannot be read.
    pub fn read(&self, fetched: FetchedDocument<'_>) -> Result<KeyAnswer, KeyError> {
        if fetched.document.len() > KEY_DOCUMENT_BYTES_MAX {
            return Err(KeyError::NotPublicKey);
        }
        let document = match &self.inside {
            None => fetched.document,
            Some(pointer) => {
                let found = pointer.find(fetched.document).ok().flatten();
                found.ok_or(KeyError::NotPublicKey)?.get().as_bytes()
            }
        };
        match self.document {
            KeyDocument::WebKeys => KeySet::of_web_keys(document).map(KeyAnswer::Keys),
            KeyDocument::PublicKey => KeySet::of_public_key(document).map(KeyAnswer::Keys),
            KeyDocument::Certificate => certified(document, 1, fetched),
            KeyDocument::Certificates => certified(document, CERTIFICATES_MAX, fetched),
        }
    }
}

fn certified(
    document: &[u8],
    most: usize,
    fetched: FetchedDocument<'_>,
) -> Result<KeyAnswer, KeyError> {
    let certificates = pem_certificates(document, most)?;
    let issuers: Vec<_> =
        fetched.issuers.iter().map(|der| issuer(der)).collect::<Result<_, _>>()?;
    let (leaf, others) = certificates.split_first().ok_or(KeyError::NotCertificate)?;
    let between = others.iter().chain(&issuers).map(Vec::as_slice).collect();
    match (CertificateChain { leaf, between }).verify(fetched.authorities, fetched.now)? {
        ChainOutcome::NeedIssuer(url) => Ok(KeyAnswer::NeedIssuer(url)),
        ChainOutcome::Trusted { not_before, not_after } => {
            KeySet::of_certificate(leaf, not_before, not_after).map(KeyAnswer::Keys)
        }
    }
}

/// The fetched keys with the time of each fetch: a snapshot to verify with, cheap to clone, changed
/// by replacing it.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    sets: BTreeMap<String, (Timestamp, Arc<KeySet>)>,
}

impl KeyRing {
    /// Adds a document that was fetched at `at`.
    pub fn insert(&mut self, reference: &KeyRef, set: KeySet, at: Timestamp) {
        self.sets.insert(reference.cache_key(), (at, Arc::new(set)));
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Drops documents that are no longer trusted, and the oldest ones beyond `most`, because
    /// senders choose some of the addresses.
    pub fn prune(&mut self, now: Timestamp, most: usize) {
        self.sets.retain(|_, (at, _)| is_trusted(*at, now));
        while self.sets.len() > most {
            let oldest =
                self.sets.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.sets.remove(&oldest);
        }
    }

    fn get(&self, key: &str, now: Timestamp) -> Option<(Timestamp, &Arc<KeySet>)> {
        let (at, set) = self.sets.get(key)?;
        is_trusted(*at, now).then_some((*at, set))
    }
}

fn age(at: Timestamp, now: Timestamp) -> u64 {
    now.as_millis().saturating_sub(at.as_millis())
}

fn is_trusted(at: Timestamp, now: Timestamp) -> bool {
    age(at, now) <= millis(KEY_LIFE)
}

/// The result of looking up a key in the ring.
pub(super) enum KeyLookup {
    Found(Arc<KeySet>),
    Needed(KeyRef),
}

impl FetchedKeyRule {
    /// Fills in parameters; true if any changed. A parameter that is missing, or that cannot be in
    /// an address, stays a placeholder, and the fetch is refused later.
    pub(super) fn apply_params(&mut self, params: &Params) -> bool {
        let mut changed = false;
        let usable = self.unusable_param(params).is_none();
        let address = match &mut self.at {
            KeyAddress::Fixed(url) => Some(url).filter(|_| usable),
            KeyAddress::InRequest(_) => None,
        };
        for text in address.into_iter().chain(&mut self.post) {
            if let Ok(filled) = fill_params(text, params)
                && *filled != **text
            {
                *text = filled.into();
                changed = true;
            }
        }
        changed
    }

    /// The first parameter whose value would change more of the address than its own place, or
    /// would make an address that the file does not allow.
    pub(crate) fn unusable_param(&self, params: &Params) -> Option<String> {
        let KeyAddress::Fixed(url) = &self.at else { return None };
        let changes =
            |name: &String| params.get(name).is_some_and(|value| !is_plain_segment(value.expose()));
        let mut names = param_names(url);
        if let Some(changing) = names.iter().position(changes) {
            return Some(names.swap_remove(changing));
        }
        let filled = fill_params(url, params).ok()?;
        let allowed = is_key_url(&filled, &self.hosts, self.path.as_ref());
        names.into_iter().next().filter(|_| !allowed)
    }

    /// The names of the parameters that a fetch needs.
    pub(crate) fn params(&self) -> Vec<String> {
        let address = match &self.at {
            KeyAddress::Fixed(url) => Some(url),
            KeyAddress::InRequest(_) => None,
        };
        address.into_iter().chain(&self.post).flat_map(|text| param_names(text)).collect()
    }

    /// The address of the key of this request; refused unless the provider's file allows it.
    pub(super) fn url(&self, request: &RequestView<'_>) -> Result<String, VerifyError> {
        let url = match &self.at {
            KeyAddress::Fixed(url) => url.to_string(),
            KeyAddress::InRequest(source) => {
                let text = source.read(request, 0)?.ok_or(VerifyError::SignedFieldMissing)?;
                String::from_utf8(text.into_owned()).map_err(|_| VerifyError::KeyUntrusted)?
            }
        };
        if is_key_url(&url, &self.hosts, self.path.as_ref()) {
            Ok(url)
        } else {
            Err(VerifyError::KeyUntrusted)
        }
    }

    /// Looks up the key at `url` in the ring.
    pub(super) fn look_up(
        &self,
        scheme: &Arc<str>,
        url: String,
        key_id: Option<&str>,
        ring: &KeyRing,
        now: Timestamp,
    ) -> Result<KeyLookup, VerifyError> {
        let post = match (&self.post, key_id) {
            (None, _) => None,
            (Some(text), Some(id)) if is_key_id(id) => {
                Some(Secret::new(text.replace("{key-id}", id)))
            }
            (Some(_), _) => return Err(VerifyError::KeyUntrusted),
        };
        let reference = KeyRef {
            scheme: scheme.clone(),
            url,
            post,
            key_id: key_id.map(str::to_owned),
            inside: self.inside.clone(),
            document: self.document,
        };
        let Some((at, set)) = ring.get(&reference.cache_key(), now) else {
            return Ok(KeyLookup::Needed(reference));
        };
        if set.named(key_id).next().is_none() {
            if age(at, now) >= millis(KEY_REFRESH_AFTER) {
                return Ok(KeyLookup::Needed(reference));
            }
            return Err(VerifyError::KeyUntrusted);
        }
        Ok(KeyLookup::Found(set.clone()))
    }

    /// Refuses a certificate for another name or another time. Its chain was checked when it was
    /// fetched.
    pub(super) fn check_certificate(
        &self,
        url: &str,
        key: &PublishedKey,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let Some(certified) = &key.certified else {
            return if self.names.is_empty() { Ok(()) } else { Err(VerifyError::KeyUntrusted) };
        };
        let named = is_named_for(&certified.names, &self.names, url, &self.hosts);
        let current = certified.not_before <= now && now <= certified.not_after;
        if named && current { Ok(()) } else { Err(VerifyError::KeyUntrusted) }
    }
}

/// True if a key id can be put into a JSON string without escaping.
fn is_key_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    !id.is_empty() && id.len() <= 128 && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &[&str]) -> Vec<HostPattern> {
        patterns.iter().map(|p| HostPattern::parse(p).unwrap()).collect()
    }

    fn rule() -> FetchedKeyRule {
        FetchedKeyRule {
            at: KeyAddress::Fixed("https://keys.example/set".into()),
            hosts: hosts(&["keys.example"]),
            path: None,
            document: KeyDocument::WebKeys,
            names: Vec::new(),
            post: None,
            inside: None,
        }
    }

    const KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}]}"#;

    fn look_up(ring: &KeyRing, id: &str, now_s: u64) -> Result<KeyLookup, VerifyError> {
        let url = "https://keys.example/set".to_owned();
        rule().look_up(&"s".into(), url, Some(id), ring, Timestamp::from_millis(now_s * 1000))
    }

    #[test]
    fn a_missing_key_is_fetched_again_only_after_a_while() {
        let mut ring = KeyRing::default();
        let Ok(KeyLookup::Needed(reference)) = look_up(&ring, "a", 0) else { panic!() };
        let set = KeySet::of_web_keys(KEY.as_bytes()).unwrap();
        ring.insert(&reference, set, Timestamp::from_millis(0));
        assert!(matches!(look_up(&ring, "a", 30), Ok(KeyLookup::Found(_))));
        assert!(matches!(look_up(&ring, "b", 30), Err(VerifyError::KeyUntrusted)));
        assert!(matches!(look_up(&ring, "b", 61), Ok(KeyLookup::Needed(_))));
        assert!(matches!(look_up(&ring, "a", 86_401), Ok(KeyLookup::Needed(_))));
    }

    #[test]
    fn prune_drops_old_and_surplus_documents() {
        let mut ring = KeyRing::default();
        for n in 0..4 {
            let url = format!("https://keys.example/{n}");
            let at = Timestamp::from_millis(n * 1000);
            let Ok(KeyLookup::Needed(reference)) =
                rule().look_up(&"s".into(), url, None, &ring, at)
            else {
                panic!()
            };
            let set = KeySet::of_web_keys(KEY.as_bytes()).unwrap();
            ring.insert(&reference, set, at);
        }
        ring.prune(Timestamp::from_millis(4000), 3);
        assert_eq!(ring.len(), 3);
        ring.prune(Timestamp::from_millis(2000 + 86_400_000), 3);
        assert_eq!(ring.len(), 2);
    }

    #[test]
    fn a_key_id_that_needs_escaping_is_refused_in_a_post() {
        let mut rule = rule();
        rule.post = Some(r#"{"key_id":"{key-id}","secret":"{param:api_secret}"}"#.into());
        let params = Params::from([("api_secret".to_owned(), Secret::new("s3"))]);
        assert!(rule.apply_params(&params));
        let ask = |id| {
            let url = "https://keys.example/get".to_owned();
            rule.look_up(&"s".into(), url, Some(id), &KeyRing::default(), Timestamp::from_millis(0))
        };
        let Ok(KeyLookup::Needed(reference)) = ask("k-1") else { panic!() };
        let post = reference.post.clone().unwrap();
        assert_eq!(post.expose(), br#"{"key_id":"k-1","secret":"s3"}"#);
        assert!(!format!("{reference:?}").contains("s3\""));
        assert!(matches!(ask("k\",\"secret\":\""), Err(VerifyError::KeyUntrusted)));
    }
}
