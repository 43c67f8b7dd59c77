//! Published keys: fetched when needed, and trusted only from the addresses and for the time that
//! the file permits.

use std::sync::Arc;

use ring::rand::SystemRandom;
use weir_core::provider::Provider;
use weir_core::sign::{RequestDraft, SigningInput};
use weir_core::time::Timestamp;
use weir_core::verify::{
    Authorities, FetchedDocument, KEY_REFRESH_AFTER, KeyAnswer, KeyError, KeyRef, KeyRing, KeySet,
    NamedSecret, Params, Secret, SecretError, Unverified, Verification, Verifier,
};

use crate::support::{NOW, Request, URL, code, fresh, provider, verified};

/// A verifier of a source with parameters and no key.
pub(crate) fn without_key(provider: &Provider) -> Verifier {
    provider.verifier_with(&[], &fresh(provider, None).1).unwrap()
}

fn draft(provider: &Provider, body: Option<&str>) -> RequestDraft {
    use rand::SeedableRng;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let sample = provider.samples[0].render(&mut random, NOW);
    RequestDraft {
        method: "POST".into(),
        url: URL.into(),
        headers: sample.headers,
        body: body.map_or(sample.body, str::to_owned).into_bytes(),
    }
}

/// A genuine request of `provider`, signed with the test RSA key.
pub(crate) fn signed(provider: &Provider) -> Request {
    let (pair, params) = fresh(provider, None);
    let signing = SigningInput { secret: &pair.sending, params: &params, scheme: None };
    let signed = provider.sign_request(signing, &draft(provider, None), NOW, &SystemRandom::new());
    let signed = signed.unwrap();
    let headers = signed.headers.into_iter();
    headers.fold(Request::new(signed.body), |request, (n, v)| request.header(&n, v))
}

pub(crate) fn needed(outcome: Verification) -> KeyRef {
    match outcome {
        Err(Unverified::NeedKey(key)) => *key,
        other => panic!("expected a key to be asked for, got {other:?}"),
    }
}

pub(crate) fn at(
    request: &Request,
    verifier: &Verifier,
    ring: &KeyRing,
    now: Timestamp,
) -> Verification {
    request.with(|view| verifier.verify_with(&view, now, ring))
}

const RSA: &str = include_str!("rsa-public.pem");
/// The same key as a set of JSON Web Keys.
const RSA_KEYS: &str = include_str!("rsa-public.jwks.json");

/// The keys read from a document, with these certificates as authorities.
fn read(key: &KeyRef, document: &str, authorities: &[&str]) -> Result<KeySet, KeyError> {
    let mut trusted = Authorities::default();
    for pem in authorities {
        trusted.add_pem(pem.as_bytes()).unwrap();
    }
    let document = document.as_bytes();
    let fetched = FetchedDocument { document, issuers: &[], authorities: &trusted, now: NOW };
    match key.read(fetched)? {
        KeyAnswer::Keys(set) => Ok(set),
        KeyAnswer::NeedIssuer(url) => panic!("wants {url}"),
    }
}

#[test]
fn a_published_key_is_fetched_once() {
    let pubsub = provider("google-pubsub");
    let verifier = without_key(pubsub);
    assert!(verifier.fetches_keys());
    let request = signed(pubsub);
    let mut ring = KeyRing::default();
    let key = needed(at(&request, &verifier, &ring, NOW));
    assert_eq!(
        (key.url.as_str(), &key.post),
        ("https://www.googleapis.com/oauth2/v3/certs", &None)
    );
    ring.insert(&key, read(&key, RSA_KEYS, &[]).unwrap(), NOW);
    let proof = verified(at(&request, &verifier, &ring, NOW));
    assert_eq!((&*proof.scheme, &*proof.secret), ("oidc", "published"));
}

#[test]
fn a_foreign_key_address_is_refused_before_any_fetch() {
    let sns = provider("sns");
    let verifier = without_key(sns);
    let genuine = signed(sns);
    let body = String::from_utf8(genuine.body.clone()).unwrap();
    let key = needed(at(&genuine, &verifier, &KeyRing::default(), NOW));
    assert!(key.url.starts_with("https://sns.us-west-2.amazonaws.com/"));
    for (from, to) in [
        ("https://sns.us-west-2", "https://evil"),
        ("https://sns.us-west-2", "http://sns.us-west-2"),
        (".amazonaws.com/Simple", ".amazonaws.com.evil.example/Simple"),
        ("0000.pem", "0000.txt"),
    ] {
        assert!(body.contains(from), "{from}");
        let elsewhere = Request { body: body.replace(from, to).into(), ..genuine.clone() };
        assert_eq!(code(at(&elsewhere, &verifier, &KeyRing::default(), NOW)), "key_untrusted");
    }
    let other_topic = body.replace(":MyTopic\"", ":Other\"");
    let other_topic = Request { body: other_topic.into(), ..genuine.clone() };
    assert_eq!(code(at(&other_topic, &verifier, &KeyRing::default(), NOW)), "header_unexpected");
}

#[test]
fn a_certificate_is_valid_for_its_names_and_time() {
    let paypal = provider("paypal");
    let file: toml::Value = toml::from_str(include_str!("../../providers/paypal.toml")).unwrap();
    let vector = &file["vectors"][0];
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let certificate = text(&vector["secret"]);
    let params = Params::from([(
        "webhook_id".to_owned(),
        Secret::new(text(&vector["params"]["webhook_id"])),
    )]);
    let verifier = paypal.verifier_with(&[], &params).unwrap();
    let headers = vector["headers"].as_table().unwrap();
    let request = headers
        .iter()
        .fold(Request::new(text(&vector["body"])), |r, (name, value)| r.header(name, text(value)));
    let outcome = |now: Timestamp| {
        let mut ring = KeyRing::default();
        let key = needed(at(&request, &verifier, &ring, now));
        ring.insert(&key, read(&key, &certificate, &[&certificate]).unwrap(), now);
        at(&request, &verifier, &ring, now)
    };
    verified(outcome(NOW));
    // The certificate is valid from 2020 to 2050.
    for seconds in [1_577_000_000, 2_524_700_000] {
        assert_eq!(code(outcome(Timestamp::from_millis(seconds * 1000))), "key_untrusted");
    }
    let mut ring = KeyRing::default();
    let key = needed(at(&request, &verifier, &ring, NOW));
    // A bare key has no owner, and a certificate of another host is refused.
    assert_eq!(read(&key, RSA, &[]), Err(KeyError::NotCertificate));
    let sns: toml::Value = toml::from_str(include_str!("../../providers/sns.toml")).unwrap();
    let other = text(&sns["vectors"][0]["secret"]);
    ring.insert(&key, read(&key, &other, &[&other]).unwrap(), NOW);
    assert_eq!(code(at(&request, &verifier, &ring, NOW)), "key_untrusted");
}

#[test]
fn random_key_ids_do_not_cause_endless_fetches() {
    let plaid = provider("plaid");
    let verifier = without_key(plaid);
    let (pair, params) = fresh(plaid, None);
    let signing = SigningInput { secret: &pair.sending, params: &params, scheme: None };
    let signed = plaid.sign_request(signing, &draft(plaid, None), NOW, &SystemRandom::new());
    // Tokens that `sign` makes name no key; Plaid's keys are fetched by id.
    let headers = signed.unwrap().headers.into_iter();
    let unnamed = headers.fold(Request::new("{}"), |request, (n, v)| request.header(&n, v));
    assert_eq!(code(at(&unnamed, &verifier, &KeyRing::default(), NOW)), "key_untrusted");

    let pubsub = provider("google-pubsub");
    let file: toml::Value =
        toml::from_str(include_str!("../../providers/google-pubsub.toml")).unwrap();
    let vector = &file["vectors"][0];
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let verifier = without_key(pubsub);
    let request =
        Request::new("{}").header("Authorization", text(&vector["headers"]["Authorization"]));
    let mut ring = KeyRing::default();
    let key = needed(at(&request, &verifier, &ring, NOW));
    let other = text(&vector["secret"]).replace("\"kid\":\"k1\"", "\"kid\":\"k2\"");
    ring.insert(&key, read(&key, &other, &[]).unwrap(), NOW);
    assert_eq!(code(at(&request, &verifier, &ring, NOW)), "key_untrusted");
    needed(at(&request, &verifier, &ring, NOW.after(KEY_REFRESH_AFTER)));
}

#[test]
fn the_body_of_a_key_fetch_does_not_print_its_parameters() {
    let plaid = provider("plaid");
    let file: toml::Value = toml::from_str(include_str!("../../providers/plaid.toml")).unwrap();
    let token = file["vectors"][0]["headers"]["Plaid-Verification"].as_str().unwrap();
    let request = Request::new("{}").header("Plaid-Verification", token);
    let key = needed(at(&request, &without_key(plaid), &KeyRing::default(), NOW));
    assert_eq!(key.url, "https://sandbox.plaid.com/webhook_verification_key/get");
    let posted = String::from_utf8(key.post.clone().unwrap().expose().to_vec()).unwrap();
    assert!(posted.contains("\"secret\":\"the-api_secret\"") && posted.contains("bfbd5111-8e33"));
    assert!(!format!("{key:?}").contains("the-api_secret"));
    for wrong in [r#"{"key":{"kty":"EC"}}"#, r#"{"key":"x"}"#, "{}", RSA, RSA_KEYS] {
        assert!(read(&key, wrong, &[]).is_err(), "{wrong}");
    }
}

#[test]
fn a_missing_key_parameter_is_refused_by_name() {
    let missing = |name: &str| {
        let error = provider(name).verifier_with(&[], &Params::new()).unwrap_err();
        match error {
            SecretError::ParamMissing { param, .. } => param.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(missing("paypal"), "webhook_id");
    assert_eq!(missing("sns"), "topic_arn");
    assert_eq!(missing("google-pubsub"), "service_account_email");
    assert_eq!(missing("plaid"), "environment");
    let braintree = [NamedSecret::new("s", Secret::new("k"))];
    let error = provider("braintree").verifier_with(&braintree, &Params::new()).unwrap_err();
    assert!(error.to_string().contains("public_key"), "{error}");
}

#[test]
fn a_source_can_wait_for_the_secret_of_a_handshake() {
    for name in ["asana", "notion"] {
        assert!(provider(name).receives_secret());
        let verifier = provider(name).verifier(&[]).unwrap();
        let request = Request::new("{}").header("X-Hook-Signature", "00");
        assert_eq!(code(request.verify(&verifier)), "signature_missing");
    }
    assert_eq!(provider("github").verifier(&[]).unwrap_err(), SecretError::None);
}

#[test]
fn a_public_key_is_not_a_shared_secret() {
    // Otherwise anyone with the public key could sign.
    for form in ["utf8", "base64"] {
        let partner = crate::support::changed("custom", &format!("[signature]\nkey = '{form}'"));
        assert!(partner.verifier(&[NamedSecret::new("s", Secret::new(RSA))]).is_err(), "{form}");
    }
    let verifier =
        provider("rfc9421").verifier(&[NamedSecret::new("s", Secret::new(RSA))]).unwrap();
    assert_eq!(verifier.schemes().map(|s| &**s).collect::<Vec<_>>(), ["rsa-pss-sha512"]);
    let set: Arc<KeySet> = Arc::new(KeySet::parse(RSA.as_bytes()).unwrap());
    assert!(!format!("{set:?}").contains("MII"));
}

#[test]
fn a_source_sets_what_an_http_signature_must_cover() {
    let strict = crate::support::changed(
        "rfc9421",
        "schemes = ['hmac-sha256']\n[signature]\n\
         http_message = { components = ['@method', '@target-uri', 'content-digest'], max_age = '5m' }",
    );
    let (pair, params) = fresh(&strict, None);
    let signing = SigningInput { secret: &pair.sending, params: &params, scheme: None };
    let random = SystemRandom::new();
    let signed = strict.sign_request(signing, &draft(&strict, None), NOW, &random).unwrap();
    let lax =
        provider("rfc9421").sign_request(signing, &draft(&strict, None), NOW, &random).unwrap();
    let secrets = [NamedSecret::new("s", pair.verifying)];
    let verifier = strict.verifier(&secrets).unwrap();
    let request = |draft: RequestDraft| {
        let headers = draft.headers.into_iter();
        headers.fold(Request::new(draft.body), |request, (n, v)| request.header(&n, v))
    };
    let genuine = request(signed);
    verified(genuine.verify(&verifier));
    let late = NOW.after(std::time::Duration::from_secs(301));
    assert_eq!(code(at(&genuine, &verifier, &KeyRing::default(), late)), "timestamp_stale");
    let changed = Request { body: b"{}".to_vec(), ..genuine.clone() };
    assert_eq!(code(changed.verify(&verifier)), "body_digest_mismatch");
    assert_eq!(code(request(lax).verify(&verifier)), "signed_field_missing");
}
