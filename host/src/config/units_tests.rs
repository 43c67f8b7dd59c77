//! Every key that is a duration or a size takes the same forms, and refuses the same.

use std::path::Path;

use toml::Value;
use weir_core::units;

use super::load::from_text;
use super::tests::documented;

/// Sets what stands at each text value of a tree in turn, and says at which path.
fn paths(value: &Value, path: &str, is: fn(&str) -> bool, found: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                paths(value, &path, is, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                paths(value, &format!("{path}[{index}]"), is, found);
            }
        }
        Value::String(text) if is(text) => found.push(path.to_owned()),
        _ => {}
    }
}

fn put(value: &mut Value, path: &str, new: Value) {
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, index) = key.split_once('[').map_or((key, None), |(key, index)| {
        (key, index.trim_end_matches(']').parse::<usize>().ok())
    });
    let mut inner = value.get_mut(key).unwrap();
    if let Some(index) = index {
        inner = inner.get_mut(index).unwrap();
    }
    if rest.is_empty() { *inner = new } else { put(inner, rest, new) }
}

/// The problem of each of these paths when all have this value, by path.
fn said_of(tree: &Value, paths: &[String], new: &Value) -> Vec<(String, String)> {
    let mut tree = tree.clone();
    paths.iter().for_each(|path| put(&mut tree, path, new.clone()));
    let text = toml::to_string(&tree).unwrap();
    let secret = |_: &str| Some("whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u".into());
    let result = from_text("weir.toml", &text, Path::new("no"), &secret, super::Mode::Production);
    let problems = result.err().map(|errors| errors.problems).unwrap_or_default();
    let said = |path: &String| {
        // A table that is read as a whole is named with the nearest key that is known.
        let of_key =
            |at: &str| at == path || path.strip_prefix(at).is_some_and(|r| r.starts_with('.'));
        let said: Vec<_> =
            problems.iter().filter(|p| !p.path.is_empty() && of_key(&p.path)).collect();
        said.iter().map(|p| p.what.as_str()).collect::<Vec<_>>().join("; ")
    };
    paths.iter().map(|path| (path.clone(), said(path))).collect()
}

fn tree() -> Value {
    let mut text = documented();
    text.push_str(
        "\n[sources.timed]\nprovider = \"custom\"\nsecrets = [{ env = \"S\" }]\n[sources.timed.signature]\n\
         message = \"{timestamp}.{body}\"\ntimestamp = { header = \"X-Time\", tolerance = \"5m\" }\n",
    );
    Value::from(toml::from_str::<toml::Table>(&text).unwrap())
}

fn all(is: fn(&str) -> bool) -> (Value, Vec<String>) {
    let (tree, mut found) = (tree(), Vec::new());
    paths(&tree, "", is, &mut found);
    (tree, found)
}

fn is_form(what: &str) -> bool {
    ["is not a", "has no unit", "expected a", "must be longer than zero", "more than zero bytes"]
        .iter()
        .any(|form| what.contains(form))
}

/// Every key at these paths takes the right forms, and refuses the wrong ones.
fn hold(tree: &Value, paths: &[String], right: &[&str], wrong: &[&str]) {
    for form in right {
        for (path, said) in said_of(tree, paths, &(*form).into()) {
            assert!(!is_form(&said), "{path} = {form:?} says {said}");
        }
    }
    let wrong = wrong.iter().map(|form| Value::from(*form)).chain([Value::from(5)]);
    for form in wrong {
        for (path, said) in said_of(tree, paths, &form) {
            assert!(is_form(&said), "{path} = {form:?} says {said:?}");
        }
    }
}

#[test]
fn every_duration_takes_the_same_forms() {
    let (tree, paths) = all(|text| units::parse_duration(text).is_ok());
    for wanted in ["server.body_timeout", "retention.dedup_life", "sources.payments.tolerance"] {
        assert!(paths.iter().any(|path| path == wanted), "{paths:?}");
    }
    assert!(paths.len() > 25, "{paths:?}");
    let right = ["500ms", "30s", "5m", "2h", "1d", "35d", "2w", "1h 30m", "90 seconds", "1day"];
    hold(&tree, &paths, &right, &["", "5", "soon", "-3s", "1.5h", "PT5M", "0s", "5M"]);
    for (path, said) in said_of(&tree, &paths, &"11000d".into()) {
        assert!(!said.is_empty() && !is_form(&said), "{path} says {said:?}");
    }
}

#[test]
fn every_size_takes_the_same_forms() {
    let (tree, paths) = all(|text| text.ends_with('B') && units::parse_size(text).is_ok());
    assert!(paths.len() > 8, "{paths:?}");
    let right = ["100B", "64KiB", "1MiB", "64 KiB", "1GiB", "1MB"];
    hold(&tree, &paths, &right, &["", "5", "lots", "-3KiB", "0B", "5 bananas"]);
}
