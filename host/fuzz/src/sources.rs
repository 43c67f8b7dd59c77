//! Sources of every built-in provider with secrets of their own, which no input can know.

use std::sync::{Arc, LazyLock};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use ring::rand::SystemRandom;
use weir_core::provider::{Catalog, Provider};
use weir_core::sample::Sample;
use weir_core::sign::{RequestDraft, SecretPair, SignError, Signing};
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params, Scheme, Secret, Verification, Verified, Verifier};

use crate::input::pick;

/// The built-in providers.
pub static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| Catalog::built_in().expect("the built-in files prove themselves"));

static PROVIDERS: LazyLock<Vec<&'static Provider>> =
    LazyLock::new(|| CATALOG.iter().map(|provider| &**provider).collect());

/// When everything here happens.
pub const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);
/// Where samples are sent.
pub const URL: &str = "https://hooks.example.com/webhook/in?x=1";

/// The provider of that name; of another name, some provider.
#[must_use]
pub fn provider(name: &str) -> &'static Provider {
    let named = CATALOG.get(name).map(|provider| &**provider);
    named.or_else(|| pick(&PROVIDERS, name).copied()).expect("there are providers")
}

/// One scheme of a provider, with a sender and a source that share a secret.
pub struct Way {
    /// The provider.
    pub provider: &'static Provider,
    /// The scheme.
    pub scheme: Arc<Scheme>,
    /// What the two know besides the secret.
    pub params: Params,
    /// The secret.
    pub pair: SecretPair,
    /// The source.
    pub verifier: Verifier,
    /// A source of the same kind that has another secret.
    pub stranger: Verifier,
}

/// Every scheme that can be signed by.
pub static WAYS: LazyLock<Vec<Way>> =
    LazyLock::new(|| PROVIDERS.iter().flat_map(|p| ways(p)).collect());

/// The ways of a provider, its strongest scheme first.
pub fn ways_of(provider: &Provider) -> impl Iterator<Item = &'static Way> {
    WAYS.iter().filter(move |way| way.provider.name == provider.name)
}

fn ways(provider: &'static Provider) -> impl Iterator<Item = Way> {
    provider.schemes.iter().filter_map(move |scheme| {
        let params = params(provider);
        let made = || {
            let pair = pair(provider, &scheme.name)?;
            let only = Some((&*scheme.name).into());
            let secret =
                NamedSecret { scheme: only, ..NamedSecret::new("fresh", pair.verifying.clone()) };
            Some((pair, provider.verifier_with(&[secret], &params).ok()?))
        };
        let ((pair, verifier), (_, stranger)) = (made()?, made()?);
        Some(Way {
            provider,
            scheme: Arc::clone(scheme),
            params: params.clone(),
            pair,
            verifier,
            stranger,
        })
    })
}

/// A fresh pair; none where the provider has RSA keys, which take seconds to make.
fn pair(provider: &Provider, scheme: &str) -> Option<SecretPair> {
    match provider.generate_secret(Some(scheme), &SystemRandom::new()) {
        Err(SignError::KeyPairWanted { .. }) => None,
        pair => Some(pair.expect("there is randomness")),
    }
}

/// Parameters that a source could have been given.
fn params(provider: &Provider) -> Params {
    let value = |name: &str| match name {
        "topic_arn" => "arn:aws:sns:us-west-2:123456789012:MyTopic".to_owned(),
        "environment" => "sandbox".to_owned(),
        "callback_hosts" => "sender.example".to_owned(),
        name => format!("the-{name}"),
    };
    // Those by which a source wants more than a secret can sign.
    let more = ["secret", "app_id", "tenant"];
    let named = provider.params.iter().filter(|param| !more.contains(&param.name.as_str()));
    named.map(|param| (param.name.clone(), Secret::new(value(&param.name)))).collect()
}

impl Way {
    /// The draft with its signature.
    pub fn sign(&self, draft: &RequestDraft) -> Result<RequestDraft, SignError> {
        let scheme = Some(&*self.scheme.name);
        let signing = Signing { secret: &self.pair.sending, params: &self.params, scheme };
        self.provider.sign_request(signing, draft, NOW, &SystemRandom::new())
    }

    /// What the source says of a request.
    #[must_use]
    pub fn verify(&self, request: &RequestDraft) -> Verification {
        seen(request, |view| self.verifier.verify(&view, NOW))
    }
}

/// A draft as the hub sees it.
pub fn seen<T>(
    draft: &RequestDraft,
    see: impl FnOnce(weir_core::verify::RequestView<'_>) -> T,
) -> T {
    let headers: Vec<_> = draft.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    see(weir_core::verify::RequestView {
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

/// How some request of the provider was verified. Who cannot be signed for borrows another's proof: identities are
/// read by nothing of it but the family of its header names.
#[must_use]
pub fn proof(provider: &Provider) -> &'static Verified {
    static PROOFS: LazyLock<Vec<(&'static str, Verified)>> = LazyLock::new(|| {
        let proof = |way: &'static Way| {
            let drafts = way.provider.samples.iter().map(drafted);
            let mut outcomes = drafts.filter_map(|draft| Some(way.verify(&way.sign(&draft).ok()?)));
            outcomes.find_map(|outcome| match outcome {
                Verification::Verified(proof) => Some((&*way.provider.name, proof)),
                _ => None,
            })
        };
        WAYS.iter().filter_map(proof).collect()
    });
    let own = PROOFS.iter().find(|(name, _)| *name == &*provider.name);
    own.or(PROOFS.first()).map(|(_, proof)| proof).expect("some provider can be signed for")
}

/// A source that never verifies what an input makes up.
pub struct Fresh {
    /// The provider.
    pub provider: &'static Provider,
    /// What the source knows besides its secret.
    pub params: Params,
    /// The source.
    pub verifier: Verifier,
    /// Its secret as text, in the form that can sign; empty where keys are published, and none was.
    pub secret: String,
}

static FRESH: LazyLock<Vec<Fresh>> = LazyLock::new(|| {
    let fresh = |provider: &&'static Provider| {
        let params = params(provider);
        let pair = provider.generate_secret(None, &SystemRandom::new()).ok();
        let named = |pair: &SecretPair| NamedSecret::new("fresh", pair.verifying.clone());
        let secrets: Vec<_> = pair.iter().map(named).collect();
        let secret = pair.map(|pair| String::from_utf8_lossy(pair.sending.expose()).into_owned());
        let verifier = provider.verifier_with(&secrets, &params).ok()?;
        Some(Fresh { provider, verifier, params, secret: secret.unwrap_or_default() })
    };
    PROVIDERS.iter().filter_map(fresh).collect()
});

/// The fresh source of that provider; none where somebody must bring a key.
#[must_use]
pub fn fresh(provider: &Provider) -> Option<&'static Fresh> {
    FRESH.iter().find(|fresh| fresh.provider.name == provider.name)
}
