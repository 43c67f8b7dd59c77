//! The setups under `examples`: a hub accepts each of them as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir::config::{Config, load_text};
use weir_core::alert::ALERT_TYPES;
use weir_core::event::{Category, EventFacts, EventType};
use weir_core::name::{SourceName, Target};
use weir_core::route::{RouteTable, Rule};
use weir_core::time::Timestamp;

use weir_testing::hub::weir;

fn setups() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/setups");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let setups: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(setups.len() >= 5, "{setups:?}");
    setups
}

/// The environment variables from which a file takes secrets.
fn variables(text: &str) -> Vec<&str> {
    let after = text.split("{ env = \"").skip(1);
    after.map(|rest| rest.split('"').next().unwrap()).collect()
}

/// A secret in the form that the provider of the source uses.
fn secret(variable: &str) -> &'static str {
    match variable {
        "ADYEN_HMAC_KEY" => "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
        "DISCORD_PUBLIC_KEY" => "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "PADDLE_SECRET_KEY" => "pdl_ntfset_01hxyz_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u",
        _ => "whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u",
    }
}

fn in_setup(folder: &Path) -> Command {
    let mut command = weir();
    let text = fs::read_to_string(folder.join("weir.toml")).unwrap();
    let secrets = variables(&text).into_iter().map(|name| (name.to_owned(), secret(name)));
    command.current_dir(folder).envs(secrets);
    command
}

#[test]
fn every_example_setup_starts_and_is_listed() {
    let list = setups()[0].parent().unwrap().join("README.md");
    let list = fs::read_to_string(list).unwrap();
    for folder in setups() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("({name}/weir.toml)")), "{name} is not in the list");
        let out = in_setup(&folder).args(["check", "--json"]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let complaints = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{name}: {said}{complaints}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["warnings"], serde_json::json!([]), "{name}");
    }
}

/// The configuration of a setup, with files instead of its environment variables for secrets.
fn loaded(folder: &Path) -> Config {
    let files = tempfile::tempdir().unwrap();
    let mut text = fs::read_to_string(folder.join("weir.toml")).unwrap();
    for name in variables(&text.clone()) {
        let file = files.path().join(name);
        fs::write(&file, secret(name)).unwrap();
        text = text.replace(&format!("env = \"{name}\""), &format!("file = {file:?}"));
    }
    load_text("weir.toml", &text, folder, weir::config::Mode::Development).unwrap().config
}

/// Samples of the requests that the sources of a setup receive, from the provider files.
fn events(config: &Config) -> Vec<(SourceName, EventType, Option<Category>)> {
    let mut events = Vec::new();
    for (name, source) in &config.sources {
        let provider = &source.provider;
        let listed = provider.types.iter().map(|kind| &**kind).filter(|kind| !kind.contains('*'));
        let samples = provider.samples.iter().map(|sample| sample.name.as_str());
        for kind in samples.chain(listed) {
            let category = provider.identity.categories.of(kind, |_| None);
            events.push((name.clone(), EventType::new(kind).unwrap(), Some(category)));
        }
    }
    let own =
        ALERT_TYPES.iter().map(|kind| (SourceName::hub(), EventType::new(kind).unwrap(), None));
    events.into_iter().chain(own).collect()
}

#[test]
fn every_pattern_of_every_setup_routes_an_event() {
    for folder in setups() {
        let config = loaded(&folder);
        let routes = config.routes.iter().map(|route| {
            Rule::new("route", Target::Destination(route.to.clone()), route.on.clone())
        });
        let handlers = config.handlers.iter().map(|(name, said)| {
            let patterns = said.on.clone().unwrap_or_default();
            Rule::new("handler", Target::Handler(name.clone()), patterns)
        });
        let table = RouteTable::new(routes.chain(handlers));
        let events = events(&config);
        for Rule { target, patterns, .. } in table.rules() {
            for pattern in patterns {
                let fitting = events.iter().find(|(s, kind, c)| pattern.matches(s, kind, *c));
                let (source, kind, category) =
                    fitting.unwrap_or_else(|| panic!("{folder:?}: nothing fits {pattern}"));
                let facts = EventFacts {
                    category: *category,
                    ..EventFacts::new(source, kind, Timestamp::from_millis(0))
                };
                let decided = table.route(&facts);
                assert!(decided.iter().any(|d| d.rule.target == *target), "{folder:?}: {pattern}");
            }
        }
    }
}

#[test]
fn a_pattern_that_matches_no_type_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[sources.github]\nprovider = \"github\"\nsecrets = [{ env = \"S\" }]\n\
                [destinations.ops]\nkind = \"webhook\"\nurl = \"https://h.example/\"\n\
                [[route]]\non = [\"github:push\", \"github:issues.opened\"]\nto = \"ops\"\n";
    fs::write(folder.path().join("weir.toml"), text).unwrap();
    let mut command = weir();
    command.current_dir(folder.path()).env("S", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let out = command.args(["check", "--json"]).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let warnings = said["warnings"].as_array().unwrap().iter();
    let of_patterns: Vec<_> = warnings.filter(|warning| warning["path"] == "route[0].on").collect();
    assert_eq!(of_patterns.len(), 1, "{said}");
    let what = of_patterns[0]["what"].as_str().unwrap();
    assert!(what.contains("`github:issues.opened` matches no event"), "{what}");
    assert!(what.contains("the type of github is `issues`; the action is in /action"), "{what}");
}

#[test]
fn the_provider_file_of_the_setups_passes_its_own_vectors() {
    let mine = setups().into_iter().find(|folder| folder.ends_with("own-provider")).unwrap();
    let out = in_setup(&mine).args(["providers", "test", "providers/acme.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("1 valid requests accepted, 2 invalid ones refused"), "{said}");
}
