//! Signing is the reverse of verifying: the verifier of a file accepts what `sign` makes with it.

use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ring::rand::SystemRandom;
use weir_core::identify::DedupRule;
use weir_core::provider::Provider;
use weir_core::request::RequestView;
use weir_core::sign::{RequestDraft, SignError, SigningInput, StandardWebhooksSigner};
use weir_core::verify::{
    KeyForm, NamedSecret, Params, Scheme, Secret, Unverified, Verifier, paste_mistakes,
};

use crate::support::{CATALOG, NOW, Request, changed, fresh, provider, verified};

fn draft(provider: &Provider, sample: &str, seed: u64) -> RequestDraft {
    let sample = provider.sample(sample).unwrap().render(&mut ChaCha8Rng::seed_from_u64(seed), NOW);
    RequestDraft {
        method: "POST".into(),
        url: crate::support::URL.into(),
        headers: sample.headers,
        body: sample.body.into_bytes(),
    }
}

/// The signed draft, and a verifier with the other side of the secret.
fn signed(provider: &Provider, scheme: Option<&str>, draft: &RequestDraft) -> (Request, Verifier) {
    let (pair, params) = fresh(provider, scheme);
    let signing = SigningInput { secret: &pair.sending, params: &params, scheme };
    let signed = provider.sign_request(signing, draft, NOW, &SystemRandom::new());
    let signed = signed.unwrap_or_else(|error| panic!("{}: {error:?}", provider.name));
    let mut request = Request::new(signed.body);
    for (name, value) in &signed.headers {
        request = request.header(name, value.as_str());
    }
    let only = scheme.map(Into::into);
    let secrets = [NamedSecret { scheme: only, ..NamedSecret::new("fresh", pair.verifying) }];
    (request, provider.verifier_with(&secrets, &params).unwrap())
}

/// The providers that can be signed for: all except one, whose only scheme is RSA with SHA-1, which
/// ring does not make.
fn signable() -> impl Iterator<Item = &'static std::sync::Arc<Provider>> {
    CATALOG.iter().filter(|provider| &*provider.name != "paddle-classic")
}

#[test]
fn every_sample_of_every_provider_verifies() {
    for provider in signable() {
        assert!(!provider.samples.is_empty(), "{}", provider.name);
        for sample in &provider.samples {
            let (request, verifier) = signed(provider, None, &draft(provider, &sample.name, 7));
            let proof = verified(request.verify(&verifier));
            let found =
                request.with(|view| provider.identify(&provider.facts(view), &proof)).unwrap();
            let kinds: Vec<_> = found.events.iter().map(|e| e.kind.as_str()).collect();
            match sample.name.as_str() {
                "events" => assert_eq!(kinds, ["delivered", "open", "click"]),
                name => assert_eq!(kinds, [name], "{}", provider.name),
            }
            let handshake = sample.name == "url_verification";
            let never = provider.identity.dedup == DedupRule::None;
            assert!(
                handshake || never || found.events.iter().all(|e| e.dedup.is_some()),
                "{}",
                provider.name
            );
        }
    }
}

#[test]
fn well_known_samples_exist() {
    for (name, samples) in [
        ("github", &["push", "issues", "pull_request", "ping"][..]),
        ("stripe", &["payment_intent.succeeded", "invoice.payment_failed", "customer.created"]),
        ("slack", &["message", "url_verification"]),
        ("shopify", &["orders/create"]),
        ("twilio", &["delivered"]),
        ("sendgrid", &["events"]),
        ("standard-webhooks", &["user.created", "payment.success", "order.created", "user.signup"]),
        ("custom", &["payment.success", "order.created", "user.signup"]),
    ] {
        for sample in samples {
            assert!(provider(name).sample(sample).is_some(), "{name} {sample}");
        }
    }
}

#[test]
fn samples_are_well_formed_and_differ_by_seed() {
    for provider in CATALOG.iter() {
        for sample in &provider.samples {
            let [one, same, other] = [1, 1, 2].map(|seed| draft(provider, &sample.name, seed));
            assert_eq!(one, same, "{} {}", provider.name, sample.name);
            assert_ne!(one, other, "{} {}", provider.name, sample.name);
            if one.headers.contains(&("content-type".into(), "application/json".into())) {
                serde_json::from_slice::<serde_json::Value>(&one.body).unwrap();
            }
        }
    }
}

#[test]
fn both_versions_of_standard_webhooks_can_be_signed() {
    let provider = provider("standard-webhooks");
    for version in ["v1", "v1a"] {
        let (request, verifier) =
            signed(provider, Some(version), &draft(provider, "user.created", 1));
        assert_eq!(&*verified(request.verify(&verifier)).scheme, version);
    }
}

#[test]
fn the_header_family_of_the_draft_is_signed() {
    let provider = provider("standard-webhooks");
    let mut draft = draft(provider, "user.created", 1);
    for (name, _) in &mut draft.headers {
        *name = name.replace("webhook-id", "svix-id");
    }
    let (request, verifier) = signed(provider, None, &draft);
    assert!(request.headers.iter().any(|(name, _)| name == "svix-signature"));
    verified(request.verify(&verifier));
}

#[test]
fn ingress_accepts_what_egress_signs() {
    let provider = provider("standard-webhooks");
    let random = SystemRandom::new();
    let [old, new, pair] = [Some("v1"), None, Some("v1a")]
        .map(|scheme| provider.generate_secret(scheme, &random).unwrap());
    let sending = [old.sending, new.sending, pair.sending];
    let value = StandardWebhooksSigner::new(&sending).unwrap().sign("msg_1", NOW, b"{}");
    assert_eq!(value.split(' ').count(), 3);
    let request = Request::new("{}")
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", NOW.as_secs().to_string())
        .header("webhook-signature", value);
    for secret in [old.verifying, new.verifying, pair.verifying] {
        verified(request.verify(&provider.verifier(&[NamedSecret::new("s", secret)]).unwrap()));
    }
}

#[test]
fn a_draft_without_a_signed_field_is_refused() {
    let provider = provider("standard-webhooks");
    let random = SystemRandom::new();
    let (pair, params) = fresh(provider, None);
    let signing = SigningInput { secret: &pair.sending, params: &params, scheme: None };
    let draft = RequestDraft::default();
    let error = provider.sign_request(signing, &draft, NOW, &random).unwrap_err();
    assert!(matches!(error, SignError::Draft { .. }), "{error:?}");
}

#[test]
fn every_kind_of_source_can_be_signed_for() {
    for toml in [
        "[signature]\nalgorithm = 'hmac-sha1'\nencoding = 'base64'\nprefix = ''",
        "[signature]\nalgorithm = 'hmac-sha512'\nencoding = 'base64url'",
        "[signature]\nalgorithm = 'sha256-secret-prefix'\nmessage = '{method}{url}{body}'",
        "[signature]\nprefix = ''\nseparator = ';'\npair = 'h1'\nmessage = '{timestamp}:{body}'\n\
         timestamp = { from = 'pair:ts', unit = 'millis', tolerance = '5s' }",
        "[signature]\nmessage = '{body}{timestamp}'\n\
         timestamp = { header = 'X-Time', unit = 'rfc3339', tolerance = '10m', direction = 'past' }",
        "[signature]\nfrom = 'headers:X-Sig-*'\nkey = 'base64'\nrequire = { X-Sig-Version = '1' }",
        "[signature]\nalgorithm = 'ed25519'\nkey = 'hex'\nmessage = '{timestamp}|{body}'\n\
         timestamp = { header = 'X-Time', tolerance = '5m' }",
        "dedup = 'none'\n[signature]\nheader = 'Authorization'\nprefix = 'Basic '\nencoding = 'base64'\n\
         algorithm = 'static-equals'",
    ] {
        let partner = changed("custom", toml);
        let (request, verifier) = signed(&partner, None, &draft(&partner, "order.created", 3));
        assert!(request.verify(&verifier).is_ok(), "{toml}");
    }
}

#[test]
fn a_secret_pair_does_not_print() {
    let pair = provider("sendgrid").generate_secret(None, &SystemRandom::new()).unwrap();
    assert_ne!(pair.sending, pair.verifying);
    let text = String::from_utf8(pair.sending.expose().to_vec()).unwrap();
    assert!(!format!("{pair:?}").contains(&text[..8]));
    assert!(
        provider("sendgrid").verifier(&[NamedSecret::new("private", Secret::new(text))]).is_err()
    );
}

#[test]
fn an_rsa_key_is_not_generated() {
    let random = SystemRandom::new();
    let error = provider("paypal").generate_secret(None, &random).unwrap_err();
    assert!(error.to_string().contains("openssl genpkey"), "{error}");
    let params = Params::from([("webhook_id".to_owned(), Secret::new("w"))]);
    let secret = Secret::new(include_str!("rsa-private.pem"));
    let signing = SigningInput { secret: &secret, params: &params, scheme: None };
    let signed = provider("paddle-classic").sign_request(
        signing,
        &draft(provider("paddle-classic"), "payment_succeeded", 1),
        NOW,
        &random,
    );
    assert!(matches!(signed, Err(SignError::VerifiedOnly { .. })), "{signed:?}");
}

#[test]
fn a_signed_parameter_must_be_given() {
    let (pair, _) = fresh(provider("paypal"), None);
    let none = Params::new();
    let signing = SigningInput { secret: &pair.sending, params: &none, scheme: None };
    let draft = draft(provider("paypal"), "PAYMENT.CAPTURE.COMPLETED", 1);
    let error = provider("paypal").sign_request(signing, &draft, NOW, &SystemRandom::new());
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "parameter webhook_id is not given, and scheme rsa signs it");
}

#[test]
fn every_scheme_of_every_provider_can_be_signed() {
    let mut tried = 0;
    for provider in signable() {
        for scheme in &provider.schemes {
            // It belongs to another product or is outdated; the sample is of the first scheme's
            // product.
            let other = matches!(
                (&*provider.name, &*scheme.name),
                ("hook0" | "coinbase-cdp", "v1")
                    | ("mailgun", "form")
                    | ("sns", "notification-v1" | "confirmation-v1" | "confirmation-v2")
                    | ("cloudevents", "query")
                    | ("adyen", "payload")
                    | ("msgraph", "validation-tokens")
            );
            if !other {
                let of_form = |name: &str| name == "AUTHORISATION" && &*scheme.name == "form";
                let sample = provider.samples.iter().find(|sample| of_form(&sample.name));
                let draft = draft(provider, &sample.unwrap_or(&provider.samples[0]).name, 5);
                let (request, verifier) = signed(provider, Some(&scheme.name), &draft);
                let outcome = request.verify(&verifier);
                assert!(
                    matches!(&outcome, Ok(v) if v.scheme == scheme.name),
                    "{} {}: {outcome:?}",
                    provider.name,
                    scheme.name
                );
                tried += 1;
            }
        }
    }
    assert!(tried >= 80, "{tried}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn one_flipped_bit_of_the_body_refuses(seed in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        for provider in signable() {
            let draft = draft(provider, &provider.samples[0].name, seed);
            let (mut request, verifier) = signed(provider, None, &draft);
            let scheme = verified(request.verify(&verifier)).scheme;
            let covered = provider.scheme(Some(&scheme)).unwrap().covers_body();
            let twilio = &*provider.name == "twilio";
            if !covered && !twilio {
                continue;
            }
            let at = at.index(request.body.len());
            request.body[at] ^= 1 << bit;
            // A form is signed by its content, and two texts may have the same content.
            let says = |body: &[u8]| {
                let mut fields: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
                fields.sort();
                fields.dedup();
                fields.concat_pairs()
            };
            let same = twilio && says(&request.body) == says(&draft.body);
            let outcome = request.verify(&verifier);
            prop_assert_eq!(outcome.is_ok(), same, "{}", provider.name);
        }
    }

    #[test]
    fn one_flipped_bit_of_a_signature_refuses(seed in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0..7u32) {
        for provider in signable() {
            let draft = draft(provider, &provider.samples[0].name, seed);
            let (mut request, verifier) = signed(provider, None, &draft);
            if request.body != draft.body {
                // The signature is in the body, which another test changes.
                continue;
            }
            let (_, value) = request.headers.last_mut().unwrap();
            let at = at.index(value.len());
            let before = value[at];
            value[at] ^= 1 << bit;
            // White space around the items of a list, and padding, are not part of a signature; two
            // providers accept hexadecimal in either case.
            let padding = [before, value[at]].iter().any(|b| b.is_ascii_whitespace() || *b == b'=');
            let any_case = ["pagerduty", "notion"].contains(&&*provider.name)
                && before.eq_ignore_ascii_case(&value[at]);
            let outcome = request.with(|view: RequestView<'_>| verifier.verify(&view, NOW));
            prop_assert!(
                padding || any_case || matches!(outcome, Err(Unverified::Refused(_))),
                "{}",
                provider.name
            );
        }
    }
}

/// The names and values joined, as that scheme signs them.
trait ConcatPairs {
    fn concat_pairs(&self) -> String;
}

impl ConcatPairs for Vec<(String, String)> {
    fn concat_pairs(&self) -> String {
        self.iter().map(|(name, value)| format!("{name}{value}")).collect()
    }
}

#[test]
fn a_fresh_secret_has_the_form_of_its_provider() {
    for (name, start, length) in [
        ("stripe", "whsec_", 38),
        ("standard-webhooks", "whsec_", 50),
        ("svix", "whsec_", 50),
        ("gitlab", "whsec_", 50),
        ("paddle", "pdl_ntfset_", 70),
        ("linear", "lin_wh_", 47),
        ("elevenlabs", "wsec_", 69),
        ("postmark", "weir:", 37),
        ("slack", "", 32),
    ] {
        // GitLab's token may be any text; its signing secret has the form.
        let scheme = (name == "gitlab").then(|| {
            let whsec = |s: &&Arc<Scheme>| s.key == KeyForm::WhsecOnly;
            &*provider(name).schemes.iter().find(whsec).unwrap().name
        });
        let pair = provider(name).generate_secret(scheme, &SystemRandom::new()).unwrap();
        let text = std::str::from_utf8(pair.verifying.expose()).unwrap();
        assert!(text.starts_with(start) && text.len() == length, "{name}: {} bytes", text.len());
        assert_eq!(pair.sending, pair.verifying, "{name}");
        assert_eq!(paste_mistakes(text.as_bytes()), [], "{name}");
    }
    for provider in CATALOG.iter() {
        let Ok(pair) = provider.generate_secret(None, &SystemRandom::new()) else { continue };
        let shared = provider.schemes.iter().find(|scheme| !scheme.algorithm.has_key_pair());
        let Some(scheme) = shared else { continue };
        assert_eq!(scheme.check_secret_strength(&pair.verifying), Ok(vec![]), "{}", provider.name);
    }
}
