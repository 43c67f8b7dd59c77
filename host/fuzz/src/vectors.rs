//! The vectors of the built-in providers' files, with their verdicts and the sources that they are
//! for.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use weir_core::identify::DedupMaterial;
use weir_core::provider::{Catalog, OneOrMore, Provider};
use weir_core::request::RequestView;
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params, Secret, Verifier};

use crate::input::{Input, Written};
use crate::sources::CATALOG;

#[derive(Deserialize)]
struct File {
    vectors: Vec<WrittenVector>,
}

/// A vector as written in the file.
#[derive(Deserialize)]
struct WrittenVector {
    name: String,
    refused: Option<String>,
    #[serde(default)]
    secret: OneOrMore,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(default)]
    now: u64,
    method: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// A vector with a source that is configured for it.
pub struct Vector {
    pub provider: &'static Provider,
    pub name: String,
    /// The parameters of the source.
    pub params: Params,
    pub verifier: Verifier,
    /// The time at which it is received.
    pub now: Timestamp,
    /// The request, as an input for a target.
    pub request: Written,
    /// True if the verdict is that it is genuine.
    pub is_genuine: bool,
}

/// Every vector of every built-in provider.
pub static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(|| {
    let providers = CATALOG.iter().map(|provider| &**provider);
    providers.flat_map(|provider| stated(provider).into_iter().map(|s| s.of(provider))).collect()
});

/// A published request, with a secret of its own.
pub struct Published {
    /// The request, as an input for a target.
    pub request: Written,
    /// True if it is genuine under its secret; some handshakes are signed too.
    pub is_genuine: bool,
}

/// The vectors and handshakes of the provider tests, independent of the files.
pub static PUBLISHED: LazyLock<Vec<Published>> = LazyLock::new(|| {
    const TEXT: &str = include_str!("../../core/tests/providers/vectors.json");
    let all: All = serde_json::from_str(TEXT).expect("the tests read it too");
    let handshakes = all.handshakes.into_iter();
    let handshakes =
        handshakes.map(|e| WrittenRequest { provider: e.provider, valid: true, ..e.request });
    all.vectors.into_iter().chain(handshakes).map(WrittenRequest::published).collect()
});

/// The bodies of all genuine requests.
pub static GENUINE_BODIES: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| {
    let own = VECTORS.iter().map(|vector| (&vector.request, vector.is_genuine));
    let all =
        own.chain(PUBLISHED.iter().map(|published| (&published.request, published.is_genuine)));
    all.filter(|(_, is_genuine)| *is_genuine).map(|(request, _)| request.body.as_slice()).collect()
});

/// A provider, a scheme, and the material of a dedup key.
pub type Key = (&'static str, Arc<str>, Option<DedupMaterial>);

/// The keys of every genuine request that one of the vectors' sources accepts, and of the same text
/// cut into another field.
pub static GENUINE_KEYS: LazyLock<HashSet<Key>> = LazyLock::new(|| {
    let own = VECTORS.iter().filter(|v| v.is_genuine).map(|v| v.request.text());
    let published = PUBLISHED.iter().filter(|p| p.is_genuine).map(|p| p.request.text());
    let cut = VECTORS.iter().filter(|v| v.is_genuine).filter_map(|v| cut_otherwise(&v.request));
    let requests: Vec<_> = own.chain(published).chain(cut).collect();
    let keys = |vector: &'static Vector| {
        requests.iter().flat_map(|text| vector.keys(&Input::parse(text).view()))
    };
    VECTORS.iter().flat_map(keys).collect()
});

/// A form of one field, cut after the first letter of the field's name. Where names and values are
/// signed with nothing between them, the signature still fits. Such a request holds no batch: it is
/// one event, and the same one however it is cut.
fn cut_otherwise(request: &Written) -> Option<Vec<u8>> {
    let equals = request.body.iter().position(|byte| *byte == b'=').filter(|at| *at > 1)?;
    let mut body = request.body.clone();
    body.remove(equals);
    body.insert(1, b'=');
    Some(Written { body, ..request.clone() }.text())
}

impl Vector {
    /// The keys of a request, if this source accepts it.
    pub fn keys(&self, request: &RequestView<'_>) -> Vec<Key> {
        let Ok(proof) = self.verifier.verify(request, self.now) else {
            return Vec::new();
        };
        let found = self.provider.identify(&self.provider.facts(*request), &proof);
        let events = found.map(|found| found.events).unwrap_or_default();
        let key = |dedup| (&*self.provider.name, proof.scheme.clone(), dedup);
        events.into_iter().map(|event| key(event.dedup)).collect()
    }
}

#[derive(Deserialize)]
struct All {
    vectors: Vec<WrittenRequest>,
    handshakes: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    provider: String,
    request: WrittenRequest,
}

#[derive(Deserialize)]
struct WrittenRequest {
    #[serde(default)]
    provider: String,
    #[serde(default)]
    valid: bool,
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    /// Base64 in a vector, text in a handshake.
    body: String,
}

impl WrittenRequest {
    fn published(self) -> Published {
        let body = STANDARD.decode(&self.body).unwrap_or_else(|_| self.body.into_bytes());
        let (words, headers) = (self.provider, self.headers.into_iter().collect());
        let request = Written { words, method: self.method, url: self.url, headers, body };
        Published { request, is_genuine: self.valid }
    }
}

fn stated(provider: &Provider) -> Vec<WrittenVector> {
    let text = Catalog::built_in_text(&provider.name).expect("a built-in provider has a file");
    toml::from_str::<File>(text).expect("the catalog has read it").vectors
}

impl WrittenVector {
    fn of(self, provider: &'static Provider) -> Vector {
        let secrets: Vec<_> = self
            .secret
            .0
            .iter()
            .map(|text| NamedSecret::new("vector", Secret::new(text.as_str())))
            .collect();
        let params: Params = self
            .params
            .iter()
            .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
            .collect();
        let body = match (self.body, self.body_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, text) => STANDARD.decode(text.unwrap_or_default()).expect("base64"),
        };
        Vector {
            provider,
            verifier: provider.verifier_with(&secrets, &params).expect("the catalog has made it"),
            params,
            now: Timestamp::from_millis(self.now.saturating_mul(1000)),
            request: Written {
                words: format!("{} {}", provider.name, self.name),
                method: self.method.unwrap_or_else(|| "POST".to_owned()),
                url: self.url.unwrap_or_else(|| "https://example.com/webhook".to_owned()),
                headers: self.headers.into_iter().collect(),
                body,
            },
            is_genuine: self.refused.is_none(),
            name: self.name,
        }
    }
}
