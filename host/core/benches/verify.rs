//! The cost of verification above the bare HMAC: fails above 3 µs for a body of 2 KB.
//!
//! The minimum of many rounds counts, taken alternately: other work on the machine only adds time.

#![expect(clippy::print_stdout, reason = "it is what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends where something it builds on fails")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ring::rand::SystemRandom;
use sha2::Sha256;
use weir_core::provider::Catalog;
use weir_core::request::RequestView;
use weir_core::sign::{RequestDraft, SigningInput};
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params};

/// The permitted cost of verification above the bare HMAC.
const BUDGET: Duration = Duration::from_micros(3);
const ROUNDS: u32 = 400;
const PER_ROUND: u32 = 100;

fn fastest(mut one: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..PER_ROUND).for_each(|_| one());
    start.elapsed() / PER_ROUND
}

fn main() {
    let catalog = Catalog::built_in().unwrap();
    let now = Timestamp::from_millis(1_760_000_000_000);
    let random = SystemRandom::new();
    let mut over = false;
    for name in ["github", "stripe", "slack", "standard-webhooks", "shopify", "linear", "gitlab"] {
        let provider = catalog.get(name).unwrap();
        let scheme = provider.schemes.iter().find(|s| !s.algorithm.has_key_pair()).unwrap();
        let pair = provider.generate_secret(Some(&scheme.name), &random).unwrap();
        let sample = provider.samples[0].render(&mut ChaCha8Rng::seed_from_u64(1), now);
        let draft = RequestDraft {
            method: "POST".into(),
            url: "https://hooks.example.com/webhook/in".into(),
            headers: sample.headers,
            body: padded(&sample.body),
        };
        let params = Params::new();
        let signing =
            SigningInput { secret: &pair.sending, params: &params, scheme: Some(&scheme.name) };
        let signed = provider.sign_request(signing, &draft, now, &random).unwrap();
        let verifier = provider.verifier(&[NamedSecret::new("s", pair.verifying)]).unwrap();
        let headers: Vec<_> =
            signed.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let request =
            RequestView { method: "POST", url: &signed.url, headers: &headers, body: &signed.body };
        assert!(verifier.verify(&request, now).is_ok(), "{name}");
        let keyed = Hmac::<Sha256>::new_from_slice(b"a secret of thirty-two bytes....").unwrap();
        let (mut bare, mut whole) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            bare = bare.min(fastest(|| {
                let mut mac = keyed.clone();
                mac.update(black_box(&signed.body));
                black_box(mac.finalize());
            }));
            whole = whole.min(fastest(|| {
                let _ = black_box(verifier.verify(black_box(&request), now));
            }));
        }
        let more = whole.saturating_sub(bare);
        over |= more > BUDGET;
        println!(
            "{name:20} HMAC {bare:>7.2?}  verify {whole:>7.2?}  more {more:>9.2?} of {BUDGET:?}"
        );
    }
    assert!(!over, "verifying costs more than its budget");
}

/// The body, padded to 2 KB with white space, which changes nothing in JSON.
fn padded(body: &str) -> Vec<u8> {
    let mut out = body.as_bytes().to_vec();
    out.resize(out.len().max(2048), b' ');
    out
}
