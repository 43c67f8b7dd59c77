//! Attacks the reading of provider files and of a source's overrides.
//!
//! Must hold: a refused file has a message; an accepted one passes its vectors, makes samples, and
//! can be used for any request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use weir_core::provider::{Provider, ProviderError, ProviderOverrides};
use weir_core::request::RequestView;
use weir_fuzz::sources::{self, NOW, URL};

fuzz_target!(init: weir_fuzz::seeds::write("provider_file"), |text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Provider::load(text) {
        Ok(provider) => {
            assert_eq!(provider.check_vectors(), []);
            ask(&provider);
        }
        Err(error) => reason(&error),
    }
    let Ok(changes) = toml::from_str::<ProviderOverrides>(text) else { return };
    for name in ["custom", "standard-webhooks", "meta"] {
        match sources::provider(name).with_overrides(&changes) {
            Ok(provider) => ask(&provider),
            Err(error) => reason(&error),
        }
    }
});

fn reason(error: &ProviderError) {
    assert!(!error.to_string().is_empty());
    if let ProviderError::Invalid(problems) = error {
        assert!(!problems.is_empty());
    }
}

/// No file may make the simplest requests panic.
fn ask(provider: &Provider) {
    for sample in &provider.samples {
        let _ = sample.render(&mut ChaCha8Rng::seed_from_u64(7), NOW);
    }
    let headers: [(&str, &[u8]); 3] = [
        ("Content-Type", b"application/x-www-form-urlencoded"),
        ("X-Webhook-Signature", b"sha256=00"),
        ("webhook-signature", b"v1,AA"),
    ];
    for (headers, body) in
        [(&headers[1..], b"{\"id\":[1]}".as_slice()), (&headers, b"id=1&payload=%7B%7D")]
    {
        let request = RequestView { method: "POST", url: URL, headers, body };
        let _ = provider.identify(&provider.facts(request), sources::proof(provider)).is_ok();
        if let Some(fresh) = sources::fresh(provider) {
            let _ = provider.verifier_with(&[], &fresh.params).map(|v| v.verify(&request, NOW));
        }
    }
}
