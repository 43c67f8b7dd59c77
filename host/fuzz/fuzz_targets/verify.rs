//! Attacks signature verification and handshakes with requests to any built-in provider.
//!
//! Must hold: nothing verifies with a secret that no input can know; with a vector's secret, no
//! signed body verifies that is not a vector's; a replayed request with other unsigned parts is the
//! same event, if its dedup key is made of the signed ones; a verified request had a signature; no
//! answer contains the secret; and the answer to a handshake is short and well-formed, whatever it
//! echoes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::handshake::{ECHO_BYTES_MAX, HandshakeAnswer, HandshakeKeys};
use weir_core::identify::DedupRule;
use weir_core::provider::Provider;
use weir_core::request::RequestView;
use weir_core::verify::{Algorithm, Params, Verifier};
use weir_fuzz::input::{Input, pick};
use weir_fuzz::sources::{self, NOW};
use weir_fuzz::vectors::{GENUINE_BODIES, GENUINE_KEYS, VECTORS, Vector};

fuzz_target!(init: weir_fuzz::seeds::write("verify"), |text: &[u8]| {
    let input = Input::parse(text);
    let provider = sources::provider(input.word(0));
    let request = input.view();
    if let Some(fresh) = sources::fresh(provider) {
        let outcome = fresh.verifier.verify(&request, NOW);
        let secret = &fresh.secret;
        assert!(
            outcome.is_err(),
            "{}: a forgery under {secret:?}",
            provider.name
        );
        assert!(secret.is_empty() || !format!("{outcome:?}").contains(secret), "{outcome:?}");
        check_handshakes(provider, request, &fresh.verifier, &fresh.params, secret);
    }
    if let Some(vector) = vector(provider, input.word(1)) {
        accept_only_signed(vector, &request);
    }
});

fn vector(provider: &Provider, name: &str) -> Option<&'static Vector> {
    let own = || VECTORS.iter().filter(|vector| vector.provider.name == provider.name);
    let named = own().find(|vector| vector.name == name);
    named.or_else(|| pick(&own().collect::<Vec<_>>(), name).copied())
}

/// A source with a vector's secret accepts only what its sender signed.
fn accept_only_signed(vector: &Vector, request: &RequestView<'_>) {
    let outcome = vector.verifier.verify(request, vector.now);
    let Ok(proof) = outcome else { return };
    let name = &vector.provider.name;
    assert!(vector.verifier.carries_signature(request), "{name}: verified and without a signature");
    let scheme = vector.provider.scheme(Some(&proof.scheme)).expect("it has verified");
    // The items of a batch are signed separately, and may come in another order.
    let whole = scheme.covers_body() && scheme.items.is_none();
    assert!(!whole || GENUINE_BODIES.contains(request.body), "{name}: its body is not a vector");
    // If the dedup key is made of signed content, a signature makes no other event, whatever
    // surrounds it.
    let dedup = &vector.provider.identity.dedup;
    let signed = matches!(dedup, DedupRule::Id | DedupRule::Fields(_) | DedupRule::Body);
    // An unsigned id can be changed in a captured request; `weir providers show` says so.
    let mut coverage = vector.provider.coverage().into_iter();
    let id_is_signed = coverage.any(|of| of.scheme == scheme.name && of.id);
    let is_told = id_is_signed || vector.provider.identity.ids.is_empty();
    if signed && is_told && scheme.algorithm != Algorithm::StaticEquals {
        for key in vector.keys(request) {
            assert!(GENUINE_KEYS.contains(&key), "{name}: a replay would be new");
        }
    }
}

/// Before verification, a stranger may have sent the request.
fn check_handshakes(
    provider: &Provider,
    request: RequestView<'_>,
    verifier: &Verifier,
    params: &Params,
    secret: &str,
) {
    let keys = HandshakeKeys { verifier, params };
    let Some(Ok(answer)) = provider.handshake(&provider.facts(request), None, keys) else {
        return;
    };
    let HandshakeAnswer { status, headers, body, .. } = &answer;
    assert!((200..600).contains(status), "{answer:?}");
    // Escaping expands a byte to at most six.
    assert!(body.len() <= 6 * ECHO_BYTES_MAX + 1024, "{answer:?}");
    assert!(secret.is_empty() || !body.contains(secret), "{answer:?}");
    for (_, value) in headers {
        assert!(value.len() <= ECHO_BYTES_MAX + 1024, "{answer:?}");
        assert!(!value.contains(char::is_control), "{answer:?}");
    }
    if headers.iter().any(|(n, v)| n == "content-type" && v.starts_with("application/json")) {
        let parsed = serde_json::from_str::<serde_json::Value>(body);
        assert!(body.is_empty() || parsed.is_ok(), "{answer:?}");
    }
}
