//! Which secrets a source may have, and what is recorded about them.

use weir_core::verify::{KeyError, NamedSecret, Secret, SecretError};

use crate::support::{Request, provider, verified, verifier};

const HELLO: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[test]
fn the_name_of_the_secret_that_fitted_is_recorded() {
    let verifier = verifier(provider("github"), &["the new one", "It's a Secret to Everybody"]);
    let request = Request::new("Hello, World!").header("x-hub-signature-256", HELLO);
    let verified = verified(request.verify(&verifier));
    assert_eq!((&*verified.scheme, &*verified.secret), ("sha256", "s1"));
}

#[test]
fn an_empty_secret_protects_nothing_and_is_refused() {
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
fn what_one_scheme_lacks_is_not_said_where_another_has_all_it_needs() {
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
    // A source that means it half would be asked for less than its operator believes.
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
    // Keys that are fetched do not stand in for the secret that must fit besides.
    let params = params(&[("app_id", "a"), ("tenant", "t")]);
    let error = provider("msgraph").verifier_with(&[], &params).unwrap_err();
    assert_eq!(error, SecretError::None);
}

#[test]
fn a_private_key_is_not_taken_for_verifying() {
    let secret = NamedSecret::new("key", Secret::new(format!("whsk_{}", "A".repeat(86))));
    let error = provider("standard-webhooks").verifier(&[secret]).unwrap_err();
    assert!(matches!(error, SecretError::Unusable { cause: KeyError::Private, .. }), "{error:?}");
}

#[test]
fn nothing_that_holds_a_secret_prints_it() {
    let secret = [NamedSecret::new("current", Secret::new("hunter2hunter2"))];
    let printed = format!("{:?}{:?}", secret, provider("github").verifier(&secret).unwrap());
    assert!(printed.contains("current") && !printed.contains("hunter2"), "{printed}");
    assert!(!printed.contains("104, 117"), "{printed}");
}
