//! Set-ups that protect nothing, and secrets with what copying leaves on them: refused or warned
//! of, and never shown.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use super::load::from_text;

const STRONG: &str = "7Qm2xV9sKd4LrT8wZp3N";
const WHSEC: &str = "whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u";

/// The problems, then the warnings, of a file whose variable S has this value, a line each.
fn said_with(text: &str, secret: &[u8]) -> (bool, String) {
    let variable = |name: &str| match name {
        "S" => Some(OsString::from_vec(secret.to_vec())),
        "STRONG" => Some(STRONG.into()),
        _ => None,
    };
    match from_text("weir.toml", text, Path::new("base"), &variable, super::Mode::Production) {
        Ok((_, warnings)) => (true, warnings.iter().map(|w| format!("{w}\n")).collect::<String>()),
        Err(errors) => (false, errors.to_string()),
    }
}

fn source(provider: &str, more: &str) -> String {
    let url = "[server]\npublic_url = \"https://hooks.example.com\"\n";
    format!("{url}[sources.a]\nprovider = \"{provider}\"\nsecrets = [{{ env = \"S\" }}]\n{more}")
}

const CUSTOM: &str = "custom";

#[test]
fn weak_secrets_are_refused_with_the_minimum() {
    let github = |secret: &[u8]| said_with(&source("github", ""), secret);
    for (secret, wanted) in [
        (&b"   "[..], "has only spaces"),
        ("\u{200b}".as_bytes(), "has only spaces"),
        (b"\0", "has only spaces"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "has only spaces"),
        (b"\x07\x1b\x7f", "has only spaces"),
        ("\u{feff}\u{2800}\u{3164}\u{ad}".as_bytes(), "has only spaces"),
        (b"\r\n", "contains only a line ending"),
        (b"\n\n\n", "has only spaces"),
        (b"x", "1 visible bytes; at least 4"),
        (b"123", "3 visible bytes; at least 4"),
        (b"a      b", "2 visible bytes; at least 4"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaa", "one repeated character"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE ops@host", "which is not shared"),
        (b"{ \"use\": \"sig\", \"kty\": \"RSA\" }", "which is not shared"),
        (b"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=", "which is not shared"),
    ] {
        let (right, said) = github(secret);
        assert!(!right && said.contains(wanted), "{secret:?}: {said}");
        assert!(said.starts_with("weir.toml:5: sources.a.secrets[0]"), "{secret:?}: {said}");
    }
    assert_eq!(github(STRONG.as_bytes()), (true, String::new()));
}

#[test]
fn every_scheme_checks_its_decoded_key() {
    for (provider, secret) in [
        ("standard-webhooks", "whsec_AA=="),
        ("standard-webhooks", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("svix", "AQID"),
        ("clerk", "whsec_c2hvcnQ="),
        ("airtable", "c2hvcnQ="),
        ("adyen", "00"),
        ("adyen", "0102030405"),
        ("woocommerce", "&amp;&lt;"),
        ("braintree", "x"),
        ("telegram", "a"),
        ("discord", &"0".repeat(64)),
        ("discord", &format!("01{}", "0".repeat(62))),
    ] {
        let more = match provider {
            "braintree" => "params = { public_key = \"k\" }",
            _ => "",
        };
        let (right, said) = said_with(&source(provider, more), secret.as_bytes());
        assert!(
            !right && said.contains("sources.a.secrets[0]: the secret "),
            "{provider} {secret}: {said}"
        );
    }
    assert!(said_with(&source("standard-webhooks", ""), WHSEC.as_bytes()).0);
}

#[test]
fn guessable_secrets_raise_a_warning() {
    for secret in
        ["changeme", "secret", "your-webhook-secret", "CHANGE_ME", "It's a Secret to Everybody"]
    {
        let (right, said) = said_with(&source("github", ""), secret.as_bytes());
        assert!(right && said.contains("well-known placeholder"), "{secret}: {said}");
    }
    let (right, said) = said_with(&source("github", ""), b"kX3mVq9s");
    assert!(right && said.contains("has 8 bytes; a secret of less than 16"), "{said}");
    let (right, said) = said_with(&source("stripe", ""), STRONG.as_bytes());
    assert!(right && said.contains("does not begin with `whsec_`"), "{said}");
}

#[test]
fn tokens_and_signing_secrets_have_the_same_minimum() {
    let auth = |place: &str| {
        format!(
            "[sources.a]\nprovider = \"github\"\nsecrets = [{{ env = \"STRONG\" }}]\n\
             auth = {{ in = \"{place}\", tokens = [{{ env = \"S\" }}] }}"
        )
    };
    let sink = |signing: &str| {
        format!(
            "[destinations.d]\nkind = \"webhook\"\nurl = \"https://d.example\"\nsigning = \"{signing}\"\n\
             secrets = [{{ env = \"S\" }}]"
        )
    };
    let admin = "[admin]\ntoken = { env = \"S\" }".to_owned();
    let meta = "[sources.a]\nprovider = \"meta\"\nsecrets = [{ env = \"STRONG\" }]\n\
                params = { verify_token = { env = \"S\" } }"
        .to_owned();
    for (text, secret) in [
        (auth("bearer"), " "),
        (auth("bearer"), "x"),
        (auth("basic"), "user:"),
        (auth("basic"), "operator: "),
        (sink("standard"), "whsec_AA=="),
        (sink("sha256-header"), "\u{200b}"),
        (admin.clone(), "xxxxxxxxxxxxxxxxxxxxxxxx"),
        (meta, "\u{200b}\u{200b}"),
    ] {
        let (right, said) = said_with(&text, secret.as_bytes());
        assert!(!right, "{text}\n{secret:?}");
        assert!(said.contains(": the "), "{said}");
    }
    let (right, said) = said_with(&auth("bearer"), b"changeme");
    assert!(right && said.contains("a.auth.tokens[0]: the token is a well-known"), "{said}");
    let (right, said) = said_with(&admin, b"your-webhook-secret");
    assert!(right && said.contains("admin.token: the token is a well-known"), "{said}");
}

#[test]
fn a_scheme_that_signs_a_constant_is_refused() {
    let with = |message: &str, more: &str| {
        let more = format!("{more}[sources.a.signature]\nmessage = {message}");
        said_with(&source(CUSTOM, &more), STRONG.as_bytes())
    };
    for message in ["\"v1\"", "\"v1:{method}\"", "[\"{body}\", \"v1\"]"] {
        let (right, said) = with(message, "");
        assert!(!right && said.contains("is the same for every request"), "{message}: {said}");
    }
    for message in ["\"{url}\"", "\"{header:X-Id}\"", "\"{header:X-Id}.{method}\""] {
        let (right, said) = with(message, "");
        assert!(right && said.contains("the body is not signed"), "{message}: {said}");
    }
    for message in ["\"{header:X-Id}{body}\"", "\"{url}{body}\"", "\"{method}{header:X-Id}{body}\""]
    {
        let (right, said) = with(message, "");
        assert!(right && said.contains("nothing separates"), "{message}: {said}");
    }
    assert_eq!(with("\"{header:X-Id}.{body}\"", ""), (true, String::new()));
    let (right, said) = said_with(
        &source(CUSTOM, "[sources.a.signature]\nalgorithm = \"static-equals\""),
        STRONG.as_bytes(),
    );
    assert!(right && said.contains("static-equals signs nothing"), "{said}");
}

#[test]
fn trusting_every_address_raises_a_warning() {
    for blocks in [
        "\"0.0.0.0/0\"",
        "\"::/0\"",
        "\"0.0.0.0/1\", \"128.0.0.0/1\"",
        "\"0.0.0.0/2\", \"64.0.0.0/2\", \"128.0.0.0/2\", \"192.0.0.0/2\"",
        "\"2000::/3\"",
        "\"::ffff:0.0.0.0/96\"",
        "\"::/1\", \"8000::/1\"",
    ] {
        let (right, said) = said_with(&format!("[server]\ntrusted_proxies = [{blocks}]"), b"");
        assert!(right && said.contains("server.trusted_proxies: trusts "), "{blocks}: {said}");
        let text = source("github", &format!("allow_ips = [{blocks}]"));
        let (right, said) = said_with(&text, STRONG.as_bytes());
        assert!(right && said.contains("a.allow_ips: allows "), "{blocks}: {said}");
    }
    let ours = "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"fc00::/7\", \
                \"2400:cb00::/32\", \"173.245.48.0/20\"]";
    assert_eq!(said_with(ours, b""), (true, String::new()));
}

#[test]
fn a_long_tolerance_raises_a_warning() {
    let (right, said) = said_with(&source("stripe", "tolerance = \"365d\""), WHSEC.as_bytes());
    assert!(right && said.contains("a.tolerance: 365d is long"), "{said}");
}

#[test]
fn traces_of_copying_on_a_secret_raise_a_warning() {
    for (secret, wanted) in [
        ("7Qm2xV9sKd4LrT8wZp3N ", "(21 bytes) ends with a space"),
        (" 7Qm2xV9sKd4LrT8wZp3N", "starts with a space"),
        ("7Qm2xV9sKd4LrT8wZp3N\n\n", "ends with a line end"),
        ("\"7Qm2xV9sKd4LrT8wZp3N\"", "is in quotes"),
        ("\u{feff}7Qm2xV9sKd4LrT8wZp3N", "starts with a byte order mark"),
        ("GITHUB_SECRET=7Qm2xV9sKd4LrT8wZp3N", "whole line NAME=value"),
        ("7Qm2xV9sKd4LrT8wZp3N\u{200b}", "ends with a space"),
        ("v1,whsec_7Qm2xV9sKd4LrT8wZp3N", "begins at `whsec_`"),
    ] {
        let (right, said) = said_with(&source("github", ""), secret.as_bytes());
        assert!(right && said.contains(wanted), "{secret:?}: {said}");
        assert!(!said.contains("7Qm2xV"), "{said}");
    }
}

#[test]
fn one_line_ending_is_removed_from_variables_and_files() {
    for secret in ["7Qm2xV9sKd4LrT8wZp3N\n", "7Qm2xV9sKd4LrT8wZp3N\r\n"] {
        let variable = |name: &str| (name == "S").then(|| OsString::from(secret));
        let text = source("github", "");
        let (config, warnings) =
            from_text("weir.toml", &text, Path::new("base"), &variable, super::Mode::Production)
                .unwrap();
        assert_eq!(config.sources["a"].secrets[0].value.expose(), STRONG.as_bytes());
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn a_secret_in_a_wrong_form_gets_the_nearest_form_as_hint() {
    for (provider, secret, wanted) in [
        (
            "standard-webhooks",
            "v1,whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u",
            "remove the text before `whsec_`",
        ),
        ("standard-webhooks", "\"whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u\"", "remove the quotes"),
        ("svix", "whsec_8fXq-mV7sKd4LrT9wZp3NbYc6Hj_tR1u", "write `+` and `/`"),
        ("svix", "correct horse battery", "remove the spaces"),
        ("clerk", "s3cr3t!", "the right form is `whsec_` and the base64"),
        ("clerk", "sk_test_8fXq2mV7sKd4LrT9", "looks like an API key"),
        ("clerk", "SECRET=whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u", "after the first `=`"),
        ("adyen", "0x8fXq", "remove the `0x`"),
        ("adyen", "8f:01:02", "remove the separators"),
    ] {
        let (right, said) = said_with(&source(provider, ""), secret.as_bytes());
        assert!(!right && said.contains(wanted), "{provider} {secret}: {said}");
        assert!(!said.contains("8fXq"), "{said}");
    }
}

#[test]
fn a_misplaced_value_is_never_printed() {
    let secret = "whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u";
    let pem = "-----BEGIN PRIVATE KEY-----\\n8fXq\\n-----END PRIVATE KEY-----";
    for value in [secret, pem, "8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u", "8fXq!Hunter2"] {
        for text in [
            format!("[sources.a]\nprovider = \"github\"\nsecrets = [{{ env = \"{value}\" }}]"),
            format!("[sources.a]\nprovider = \"github\"\nsecrets = [\"{value}\"]"),
            format!("[sources.a]\nprovider = \"github\"\nsecrets = \"{value}\""),
            format!("[sources.a]\nprovider = \"github\"\nsecret = \"{value}\""),
            source(CUSTOM, &format!("signature = \"{value}\"")),
            source(CUSTOM, &format!("[sources.a.signature]\nkey = \"{value}\"")),
            source(CUSTOM, &format!("[sources.a.signature]\nsecret = \"{value}\"")),
            source(CUSTOM, &format!("[sources.a.signature]\nalgorithm = \"{value}\"")),
            source(CUSTOM, &format!("[sources.a.signature]\nencoding = \"{value}\"")),
            format!("[admin]\ntoken = \"{value}\""),
            format!("[admin]\ntoken = {{ env = \"{value}\" }}"),
            format!(
                "[destinations.d]\nkind = \"webhook\"\nurl = \"https://d\"\nsecrets = [{{ env = \"{value}\" }}]"
            ),
            format!(
                "[destinations.d]\nkind = \"webhook\"\nurl = \"https://d\"\nsigning = \"{value}\""
            ),
            format!("[destinations.d]\nkind = \"webhook\"\nurl = \"{value}\""),
        ] {
            let (right, said) = said_with(&text, STRONG.as_bytes());
            assert!(!right && !said.contains("8fXq"), "{text}\n{said}");
        }
    }
    let file = format!("[sources.a]\nprovider = \"github\"\nsecrets = [{{ file = \"{secret}\" }}]");
    let (right, said) = said_with(&file, b"");
    assert!(!right && !said.contains("8fXq"), "{said}");
}
