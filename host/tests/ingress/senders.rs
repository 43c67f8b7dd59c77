//! The samples of every built-in provider, signed and sent over real HTTP.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rand::SeedableRng;
use rand::rngs::StdRng;
use ring::rand::SystemRandom;
use weir::samples::SignedSample;
use weir_core::provider::{Catalog, Provider};
use weir_core::sign::{SecretPair, SignError, SigningInput};
use weir_core::time::Timestamp;
use weir_core::verify::{Params, Secret};

use crate::hub::{IngressHub, NOW_MS, request_by};

/// The parameters that tests give to a source of this provider.
fn params(provider: &Provider) -> Params {
    type Table = BTreeMap<String, BTreeMap<String, String>>;
    static ALL: LazyLock<Table> = LazyLock::new(|| {
        toml::from_str(include_str!("../../core/tests/data/params.toml")).unwrap()
    });
    let given = ALL.get(&*provider.name).into_iter().flatten();
    given.map(|(name, value)| (name.clone(), Secret::new(value.as_str()))).collect()
}

/// Both sides of a new secret. For RSA, the tests' own key.
fn pair(provider: &Provider) -> SecretPair {
    match provider.generate_secret(None, &SystemRandom::new()) {
        Err(SignError::KeyPairNeeded { .. }) => SecretPair {
            sending: Secret::new(include_str!("../../core/tests/providers/rsa-private.pem")),
            verifying: Secret::new(include_str!("../../core/tests/providers/rsa-public.pem")),
        },
        pair => pair.unwrap(),
    }
}

fn text(secret: &Secret) -> String {
    toml::Value::from(String::from_utf8(secret.expose().to_vec()).unwrap()).to_string()
}

/// All providers but one, which signs with RSA and SHA-1: the hub does not sign that way.
fn signable(catalog: &Catalog) -> impl Iterator<Item = &Provider> {
    catalog.iter().map(|provider| &**provider).filter(|p| &*p.name != "paddle-classic")
}

#[tokio::test]
async fn every_sample_of_every_provider_is_accepted_over_http() {
    let catalog = Catalog::built_in().unwrap();
    let mut config = String::new();
    let mut senders = Vec::new();
    for provider in signable(&catalog) {
        let (name, pair, params) = (&provider.name, pair(provider), params(provider));
        let given = params.iter().map(|(name, value)| format!("{name} = {}", text(value)));
        let given = given.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            config,
            "[sources.{name}]\nprovider = \"{name}\"\n\
             public_url = \"https://hooks.example.com/in/{name}\"\n\
             secrets = [{}]\nparams = {{ {given} }}",
            text(&pair.verifying)
        );
        senders.push((provider, pair.sending, params));
    }
    let hub = IngressHub::of(&config).await;
    let mut random = StdRng::seed_from_u64(7);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (provider, secret, params) in &senders {
        let url = format!("https://hooks.example.com/in/{}", provider.name);
        for sample in &provider.samples {
            let now = Timestamp::from_millis(NOW_MS);
            let name = &sample.name;
            let signing = SigningInput { secret, params, scheme: None };
            let made = SignedSample::make(provider, name, None, signing, &url, now, &mut random);
            let made = made.unwrap_or_else(|error| panic!("{} {name}: {error:?}", provider.name));
            let headers: Vec<_> =
                made.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let path = made.address(&format!("/webhook/{}", provider.name));
            let reply = hub
                .raw(request_by(
                    &made.method,
                    &path,
                    &headers,
                    std::str::from_utf8(&made.body).unwrap(),
                ))
                .await;
            count += 1;
            if !(200..300).contains(&reply.status) {
                let said = String::from_utf8_lossy(&reply.body).into_owned();
                wrong.push(format!("{} {name}: {} {said}", provider.name, reply.status));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(senders.len() >= 80 && count >= senders.len(), "{count}");
}
