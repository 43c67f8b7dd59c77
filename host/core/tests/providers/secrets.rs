//! The secrets of a source, and what is recorded about them.

use weir_core::verify::{KeyError, NamedSecret, Secret, SecretError};

use crate::support::{CATALOG, Request, params, provider, verified, verifier};

const HELLO: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[test]
fn the_name_of_the_matching_secret_is_recorded() {
    let verifier = verifier(provider("github"), &["the new one", "It's a Secret to Everybody"]);
    let request = Request::new("Hello, World!").header("x-hub-signature-256", HELLO);
    let verified = verified(request.verify(&verifier));
    assert_eq!((&*verified.scheme, &*verified.secret), ("sha256", "s1"));
}

#[test]
fn an_empty_secret_is_refused() {
    let empty = [NamedSecret::new("a", Secret::new(""))];
    assert!(matches!(
        provider("github").verifier(&empty).unwrap_err(),
        SecretError::Unusable { cause: KeyError::Empty, .. }
    ));
    assert_eq!(provider("github").verifier(&[]).unwrap_err(), SecretError::None);
}

#[test]
fn a_secret_that_no_scheme_can_use_is_refused_by_name() {
    let error =
        provider("sendgrid").verifier(&[NamedSecret::new("key", Secret::new("AAAA"))]).unwrap_err();
    assert_eq!(error.to_string(), "secret key cannot be used with scheme ecdsa");
}

#[test]
fn an_incomplete_scheme_is_ignored_if_another_is_complete() {
    let params = |given: &[(&str, &str)]| {
        given.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
    };
    for name in ["jira", "msgraph"] {
        let none = provider(name).verifier(&[]).unwrap_err();
        assert_eq!(none, SecretError::None, "{name}");
        let empty = [NamedSecret::new("a", Secret::new(""))];
        let unusable = provider(name).verifier(&empty).unwrap_err();
        assert!(matches!(unusable, SecretError::Unusable { .. }), "{name}: {unusable}");
    }
    // Otherwise the source would verify less than its operator believes.
    let current = [NamedSecret::new("a", Secret::new("s"))];
    for (name, given, lacking) in [
        (
            "msgraph",
            ("app_id", "a"),
            "parameter tenant is not given, and scheme validation-tokens needs it",
        ),
        (
            "msgraph",
            ("tenant", "t"),
            "parameter app_id is not given, and scheme validation-tokens needs it",
        ),
        (
            "jira",
            ("base_url", "b"),
            "parameter client_key is not given, and scheme connect needs it",
        ),
    ] {
        let error = provider(name).verifier_with(&current, &params(&[given])).unwrap_err();
        assert_eq!(error.to_string(), lacking);
    }
    // Fetched keys do not replace the secret that must match too.
    let params = params(&[("app_id", "a"), ("tenant", "t")]);
    let error = provider("msgraph").verifier_with(&[], &params).unwrap_err();
    assert_eq!(error, SecretError::None);
}

#[test]
fn a_private_key_is_refused_for_verification() {
    let secret = NamedSecret::new("key", Secret::new(format!("whsk_{}", "A".repeat(86))));
    let error = provider("standard-webhooks").verifier(&[secret]).unwrap_err();
    assert!(matches!(error, SecretError::Unusable { cause: KeyError::Private, .. }), "{error:?}");
}

#[test]
fn types_with_secrets_do_not_print_them() {
    let secret = [NamedSecret::new("current", Secret::new("hunter2hunter2"))];
    let printed = format!("{:?}{:?}", secret, provider("github").verifier(&secret).unwrap());
    assert!(printed.contains("current") && !printed.contains("hunter2"), "{printed}");
    assert!(!printed.contains("104, 117"), "{printed}");
}

#[test]
fn parameters_in_tests_are_those_of_the_providers() {
    let file: toml::Table = toml::from_str(include_str!("../data/params.toml")).unwrap();
    for (name, given) in &file {
        let params = &provider(name).params;
        for given in given.as_table().unwrap().keys() {
            assert!(params.iter().any(|param| param.name == *given), "{name}: {given}");
        }
    }
    for provider in CATALOG.iter() {
        let given = params(provider);
        let required = provider.params.iter().filter(|p| p.required && p.name != "secret");
        for param in required {
            assert!(given.contains_key(&param.name), "{}: {}", provider.name, param.name);
        }
    }
}
