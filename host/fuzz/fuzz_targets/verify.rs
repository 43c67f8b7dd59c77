//! Attacks the interpreter of signature schemes and the handshakes with requests to any built-in provider.
//!
//! Holds: nothing verifies under a secret that no input can know; under a vector's secret nothing verifies whose body is
//! signed and is not a vector's; a request that is replayed with other things around what is signed is the same event
//! still, where its key is made of that; what verifies had a signature; no answer tells the secret; and an answer to a
//! handshake is short and well-formed, whatever is echoed in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::handshake::{ECHO_BYTES_MAX, HandshakeAnswer, HandshakeKeys};
use weir_core::identify::{DedupRule, RequestFacts};
use weir_core::provider::Provider;
use weir_core::verify::{Algorithm, Params, RequestView, Verification, Verifier};
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
            !matches!(outcome, Verification::Verified(_)),
            "{}: a forgery under {secret:?}",
            provider.name
        );
        assert!(secret.is_empty() || !format!("{outcome:?}").contains(secret), "{outcome:?}");
        shake_hands(provider, request, &fresh.verifier, &fresh.params, secret);
    }
    if let Some(vector) = vector(provider, input.word(1)) {
        believe_no_other(vector, &request);
    }
});

fn vector(provider: &Provider, name: &str) -> Option<&'static Vector> {
    let own = || VECTORS.iter().filter(|vector| vector.provider.name == provider.name);
    let named = own().find(|vector| vector.name == name);
    named.or_else(|| pick(&own().collect::<Vec<_>>(), name).copied())
}

/// A source with a vector's secret takes what its sender signed and nothing else.
fn believe_no_other(vector: &Vector, request: &RequestView<'_>) {
    let outcome = vector.verifier.verify(request, vector.now);
    let Verification::Verified(proof) = outcome else { return };
    let name = &vector.provider.name;
    assert!(vector.verifier.carries_signature(request), "{name}: verified and without a signature");
    let scheme = vector.provider.scheme(Some(&proof.scheme)).expect("it has verified");
    // The items of a batch are signed each by itself, and may come in another order.
    let whole = scheme.covers_body() && scheme.items.is_none();
    assert!(!whole || GENUINE_BODIES.contains(request.body), "{name}: nobody signed this body");
    // Where the key is made of what is signed, a signature makes no event but its own, whatever is put around it.
    let dedup = &vector.provider.identity.dedup;
    let signed = matches!(dedup, DedupRule::Id | DedupRule::Fields(_) | DedupRule::Body);
    // An id that is not signed is what a captured request can change; `weir providers show` says so.
    let mut coverage = vector.provider.coverage().into_iter();
    let id_is_signed = coverage.any(|of| of.scheme == scheme.name && of.id);
    let is_told = id_is_signed || vector.provider.identity.ids.is_empty();
    if signed && is_told && scheme.algorithm != Algorithm::StaticEquals {
        for key in vector.keys(request) {
            assert!(GENUINE_KEYS.contains(&key), "{name}: a replay would be new");
        }
    }
}

/// Before verification; whatever is answered was asked by a stranger.
fn shake_hands(
    provider: &Provider,
    request: RequestView<'_>,
    verifier: &Verifier,
    params: &Params,
    secret: &str,
) {
    let keys = HandshakeKeys { verifier, params };
    let Some(Ok(answer)) = provider.handshake(&RequestFacts::new(provider, request), None, keys) else {
        return;
    };
    let HandshakeAnswer { status, headers, body, .. } = &answer;
    assert!((200..600).contains(status), "{answer:?}");
    // Escaping makes a byte six at most.
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
