//! Tests of the settings for sending: destinations, certificate authorities and forwarded headers.

use std::fs;
use std::path::Path;

use super::load::from_text;
use super::{Config, ConfigProblem, TransportSettings};
use crate::guard::AllowedNetworks;

fn loaded(text: &str) -> (Config, Vec<ConfigProblem>) {
    from_text("weir.toml", text, Path::new("base"), &|_| None, super::Mode::Production).unwrap()
}

#[test]
fn an_unreachable_destination_warns_with_the_missing_key() {
    let ops = |url: &str, more: &str| {
        let (_, warnings) =
            loaded(&format!("[destinations.ops]\nkind = \"webhook\"\nurl = \"{url}\"\n{more}"));
        warnings.iter().map(ToString::to_string).collect::<String>()
    };
    for url in [
        "http://127.0.0.1:3000",
        "http://localhost:3000/hook",
        "http://app.localhost./",
        "http://[::1]:3000",
        "http://[::ffff:10.0.0.1]",
        "http://10.1.2.3",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://backend:3000/hook",
        "http://host.docker.internal:3000",
    ] {
        let said = ops(url, "");
        assert!(said.contains("allow = [\"@private\"]"), "{url}: {said}");
        assert!(said.contains("destinations.ops.url"), "{url}: {said}");
        assert_eq!(ops(url, "allow = [\"@private\"]"), "", "{url}");
    }
    assert!(ops("http://169.254.1.1/", "").contains("allow = [\"@linklocal\"]"));
    for url in ["http://169.254.169.254/latest", "http://metadata.google.internal/"] {
        assert!(ops(url, "allow = [\"@private\"]").contains("allow = [\"@metadata\"]"), "{url}");
    }
    assert!(ops("http://0.0.0.0:3000", "").contains("nothing may be sent"));
    for url in ["https://ops.example.com", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
        assert_eq!(ops(url, ""), "", "{url}");
    }
    let (_, warnings) = loaded("[alerts]\nalert_url = \"http://localhost:9/\"");
    assert!(warnings[0].to_string().contains("alerts.alert_url"), "{warnings:?}");
    let instead = "[fetch]\ninstead = { \"https://a.example/\" = \"http://10.0.0.1/\" }";
    assert!(loaded(instead).1[0].to_string().contains("allow = [\"@private\"]"));
}

#[test]
fn development_mode_permits_this_machine_without_a_warning() {
    let of = |url: &str| {
        let text = format!("[destinations.ops]\nkind = \"webhook\"\nurl = \"{url}\"");
        let read =
            from_text("weir.toml", &text, Path::new("base"), &|_| None, super::Mode::Development);
        let (config, warnings) = read.unwrap();
        let TransportSettings::Webhook(webhook) = &config.destinations["ops"].transport else {
            panic!()
        };
        (webhook.allow, warnings.len())
    };
    let here = AllowedNetworks { loopback: true, ..AllowedNetworks::default() };
    assert_eq!(of("http://127.0.0.1:3000"), (here, 0));
    assert_eq!(of("http://localhost:3000"), (here, 0));
    assert_eq!(of("http://10.0.0.1:3000"), (here, 1));
}

#[test]
fn an_invalid_authorities_file_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text.pem"), "no certificate").unwrap();
    let wrong = |text: &str| {
        let read = from_text("weir.toml", text, folder.path(), &|_| None, super::Mode::Production);
        read.unwrap_err().to_string()
    };
    for (text, path) in [
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://ops.example.com\"\n",
            "destinations.ops.ca",
        ),
        ("[fetch]\n", "fetch.ca"),
        ("[alerts]\nalert_url = \"https://ops.example.com\"\n", "alerts.ca"),
    ] {
        let said = wrong(&format!("{text}ca = \"gone.pem\""));
        assert!(said.contains(path) && said.contains("gone.pem cannot be read"), "{said}");
        let said = wrong(&format!("{text}ca = \"text.pem\""));
        assert!(said.contains("text.pem contains no certificate in PEM form"), "{said}");
    }
    assert!(wrong("[trust]\nroots = \"mine\"").contains("trust.roots"));
    let of_env = |name: &str| (name == "SSL_CERT_FILE").then(|| "gone.pem".into());
    let (config, warnings) =
        from_text("weir.toml", "", folder.path(), &of_env, super::Mode::Production).unwrap();
    assert!(warnings[0].to_string().contains("SSL_CERT_FILE is not used"), "{warnings:?}");
    assert_eq!(config.fetch.trust.ssl_cert_file, None);
}

#[test]
fn a_route_may_pass_headers_but_no_credentials() {
    let route = |more: &str| {
        format!(
            "[destinations.ops]\nkind = \"inbox\"\n[[route]]\non = [\"*:*\"]\nto = \"ops\"\n{more}"
        )
    };
    let passed = |more: &str| loaded(&route(more)).0.routes[0].pass_headers.clone();
    assert_eq!(passed(""), None);
    assert_eq!(passed("pass_headers = []"), Some(vec![]));
    let names = passed("pass_headers = [\"X-GitHub-Event\"]");
    assert_eq!(names, Some(vec!["x-github-event".into()]));
    for (name, what) in [
        ("Authorization", "credential"),
        ("cookie", "credential"),
        ("Host", "set by the hub"),
        ("weir-source", "set by the hub"),
        ("a b", "not the name of a header"),
    ] {
        let text = route(&format!("pass_headers = [\"{name}\"]"));
        let said =
            from_text("weir.toml", &text, Path::new("base"), &|_| None, super::Mode::Production);
        assert!(said.unwrap_err().to_string().contains(what), "{name}");
    }
}
