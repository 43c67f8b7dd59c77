//! Helpers: requests, sources and their parameters.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use ring::rand::SystemRandom;
use weir_core::provider::{Catalog, Provider, ProviderOverrides};
use weir_core::request::RequestView;
use weir_core::sign::{SecretPair, SignError};
use weir_core::time::Timestamp;
use weir_core::verify::{
    NamedSecret, Params, Secret, Unverified, Verification, Verified, Verifier,
};

pub(crate) static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::built_in().unwrap());

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);
pub(crate) const URL: &str = "https://hooks.example.com/webhook/in?x=1";

pub(crate) fn provider(name: &str) -> &'static Provider {
    CATALOG.get(name).unwrap()
}

/// A provider with overrides written as in a configuration.
pub(crate) fn changed(name: &str, toml: &str) -> Provider {
    let overrides: ProviderOverrides = toml::from_str(toml).unwrap();
    provider(name).with_overrides(&overrides).unwrap()
}

pub(crate) fn verifier(provider: &Provider, secrets: &[&str]) -> Verifier {
    let named = |(n, s): (usize, &&str)| NamedSecret::new(&format!("s{n}"), Secret::new(*s));
    let secrets: Vec<_> = secrets.iter().enumerate().map(named).collect();
    provider.verifier(&secrets).unwrap()
}

/// A fresh secret of a provider and the parameters of a source. RSA keys are not generated: a test
/// key, used nowhere else, takes their place.
pub(crate) fn fresh(provider: &Provider, scheme: Option<&str>) -> (SecretPair, Params) {
    let pair = match provider.generate_secret(scheme, &SystemRandom::new()) {
        Err(SignError::KeyPairNeeded { .. }) => SecretPair {
            sending: Secret::new(include_str!("rsa-private.pem")),
            verifying: Secret::new(include_str!("rsa-public.pem")),
        },
        pair => pair.unwrap(),
    };
    (pair, params(provider))
}

/// The parameters that tests give to a source of this provider.
pub(crate) fn params(provider: &Provider) -> Params {
    type Table = BTreeMap<String, BTreeMap<String, String>>;
    static ALL: LazyLock<Table> =
        LazyLock::new(|| toml::from_str(include_str!("../data/params.toml")).unwrap());
    let given = ALL.get(&*provider.name).into_iter().flatten();
    given.map(|(name, value)| (name.clone(), Secret::new(value.as_str()))).collect()
}

/// A request that owns its parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn with<T>(&self, see: impl FnOnce(RequestView<'_>) -> T) -> T {
        let headers: Vec<_> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        see(RequestView { method: "POST", url: URL, headers: &headers, body: &self.body })
    }

    pub(crate) fn verify(&self, verifier: &Verifier) -> Verification {
        self.with(|view| verifier.verify(&view, NOW))
    }
}

pub(crate) fn verified(outcome: Verification) -> Verified {
    match outcome {
        Ok(verified) => verified,
        other => panic!("expected a verified request, got {other:?}"),
    }
}

pub(crate) fn code(outcome: Verification) -> &'static str {
    match outcome {
        Err(Unverified::Refused(refusal)) => refusal.code(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}
