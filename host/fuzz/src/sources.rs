//! Sources of every built-in provider with random secrets, which no input can know.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use ring::rand::SystemRandom;
use weir_core::provider::{Catalog, Provider};
use weir_core::sample::Sample;
use weir_core::sign::{RequestDraft, SecretPair, SignError, SigningInput};
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params, Scheme, Secret, Verification, Verified, Verifier};

use crate::input::pick;

/// The built-in providers.
pub static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| Catalog::built_in().expect("the built-in files prove themselves"));

static PROVIDERS: LazyLock<Vec<&'static Provider>> =
    LazyLock::new(|| CATALOG.iter().map(|provider| &**provider).collect());

/// The clock of all targets.
pub const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);
/// The public URL of all sources.
pub const URL: &str = "https://hooks.example.com/webhook/in?x=1";

/// The provider with this name; for an unknown name, any provider.
#[must_use]
pub fn provider(name: &str) -> &'static Provider {
    let named = CATALOG.get(name).map(|provider| &**provider);
    named.or_else(|| pick(&PROVIDERS, name).copied()).expect("there are providers")
}

/// One scheme of a provider, with a sender and a source that share a secret.
pub struct SignedScheme {
    pub provider: &'static Provider,
    pub scheme: Arc<Scheme>,
    /// The parameters of both.
    pub params: Params,
    pub pair: SecretPair,
    pub verifier: Verifier,
    /// A source of the same kind with another secret.
    pub other: Verifier,
}

/// Every scheme that can be signed with.
pub static SCHEMES: LazyLock<Vec<SignedScheme>> =
    LazyLock::new(|| PROVIDERS.iter().flat_map(|p| signed_schemes(p)).collect());

/// The schemes of a provider, the strongest first.
pub fn schemes_of(provider: &Provider) -> impl Iterator<Item = &'static SignedScheme> {
    SCHEMES.iter().filter(move |keyed| keyed.provider.name == provider.name)
}

fn signed_schemes(provider: &'static Provider) -> impl Iterator<Item = SignedScheme> {
    provider.schemes.iter().filter_map(move |scheme| {
        let params = params(provider);
        let made = || {
            let pair = pair(provider, &scheme.name)?;
            let only = Some((&*scheme.name).into());
            let secret =
                NamedSecret { scheme: only, ..NamedSecret::new("fresh", pair.verifying.clone()) };
            Some((pair, provider.verifier_with(&[secret], &params).ok()?))
        };
        let ((pair, verifier), (_, other)) = (made()?, made()?);
        Some(SignedScheme {
            provider,
            scheme: scheme.clone(),
            params: params.clone(),
            pair,
            verifier,
            other,
        })
    })
}

/// A fresh pair; `None` for RSA keys, which take seconds to generate.
fn pair(provider: &Provider, scheme: &str) -> Option<SecretPair> {
    match provider.generate_secret(Some(scheme), &SystemRandom::new()) {
        Err(SignError::KeyPairNeeded { .. }) => None,
        pair => Some(pair.expect("there is randomness")),
    }
}

/// The parameters that tests give to a source of this provider.
fn params(provider: &Provider) -> Params {
    type Table = BTreeMap<String, BTreeMap<String, String>>;
    static ALL: LazyLock<Table> = LazyLock::new(|| {
        toml::from_str(include_str!("../../core/tests/data/params.toml")).unwrap()
    });
    let given = ALL.get(&*provider.name).into_iter().flatten();
    given.map(|(name, value)| (name.clone(), Secret::new(value.as_str()))).collect()
}

impl SignedScheme {
    /// Signs a draft.
    pub fn sign(&self, draft: &RequestDraft) -> Result<RequestDraft, SignError> {
        let scheme = Some(&*self.scheme.name);
        let signing = SigningInput { secret: &self.pair.sending, params: &self.params, scheme };
        self.provider.sign_request(signing, draft, NOW, &SystemRandom::new())
    }

    /// Verifies a request as the source does.
    pub fn verify(&self, request: &RequestDraft) -> Verification {
        seen(request, |view| self.verifier.verify(&view, NOW))
    }
}

/// Calls `see` with a draft as the hub sees it.
pub fn seen<T>(
    draft: &RequestDraft,
    see: impl FnOnce(weir_core::request::RequestView<'_>) -> T,
) -> T {
    let headers: Vec<_> = draft.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    see(weir_core::request::RequestView {
        method: &draft.method,
        url: &draft.url,
        headers: &headers,
        body: &draft.body,
    })
}

/// A sample as its provider would send it, before it is signed; the same every time.
#[must_use]
pub fn drafted(sample: &Sample) -> RequestDraft {
    let sample = sample.render(&mut ChaCha8Rng::seed_from_u64(7), NOW);
    RequestDraft {
        method: "POST".to_owned(),
        url: URL.to_owned(),
        headers: sample.headers,
        body: sample.body.into_bytes(),
    }
}

/// A proof of some request of the provider. A provider that cannot be signed for gets another's
/// proof: identification only reads the family of header names from it.
#[must_use]
pub fn proof(provider: &Provider) -> &'static Verified {
    static PROOFS: LazyLock<Vec<(&'static str, Verified)>> = LazyLock::new(|| {
        let proof = |keyed: &'static SignedScheme| {
            let drafts = keyed.provider.samples.iter().map(drafted);
            let mut outcomes =
                drafts.filter_map(|draft| Some(keyed.verify(&keyed.sign(&draft).ok()?)));
            outcomes.find_map(|outcome| match outcome {
                Ok(proof) => Some((&*keyed.provider.name, proof)),
                _ => None,
            })
        };
        SCHEMES.iter().filter_map(proof).collect()
    });
    let own = PROOFS.iter().find(|(name, _)| *name == &*provider.name);
    own.or(PROOFS.first()).map(|(_, proof)| proof).expect("some provider can be signed for")
}

/// A source that never verifies a made-up request.
pub struct FreshSource {
    pub provider: &'static Provider,
    /// The parameters of the source.
    pub params: Params,
    pub verifier: Verifier,
    /// The secret as text, in the form that can sign; empty if keys are published and there is no
    /// secret.
    pub secret: String,
}

static FRESH_SOURCES: LazyLock<Vec<FreshSource>> = LazyLock::new(|| {
    let fresh = |provider: &&'static Provider| {
        let params = params(provider);
        let pair = provider.generate_secret(None, &SystemRandom::new()).ok();
        let named = |pair: &SecretPair| NamedSecret::new("fresh", pair.verifying.clone());
        let secrets: Vec<_> = pair.iter().map(named).collect();
        let secret = pair.map(|pair| String::from_utf8_lossy(pair.sending.expose()).into_owned());
        let verifier = provider.verifier_with(&secrets, &params).ok()?;
        Some(FreshSource { provider, verifier, params, secret: secret.unwrap_or_default() })
    };
    PROVIDERS.iter().filter_map(fresh).collect()
});

/// The fresh source of a provider; `None` if the sender must bring a key.
#[must_use]
pub fn fresh(provider: &Provider) -> Option<&'static FreshSource> {
    FRESH_SOURCES.iter().find(|fresh| fresh.provider.name == provider.name)
}
