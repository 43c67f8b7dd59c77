//! `host/docs/api.md` has a heading for every operation of the OpenAPI document, the fields of its
//! answers, and no error code that is not in the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::document::{Document, root};
use crate::stage::{Stage, WEIR, get};

type Routes = BTreeMap<String, BTreeSet<String>>;

/// The headings such as ``### `GET /health` ``.
fn documented() -> Routes {
    let document = Document::read("host/docs/api.md");
    let mut routes = Routes::new();
    for (_, line) in document.prose() {
        let Some(heading) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`'))
        else {
            continue;
        };
        let (method, path) = heading.split_once(' ').unwrap();
        routes.entry(path.to_owned()).or_default().insert(method.to_owned());
    }
    routes
}

/// The operations of the OpenAPI document.
fn operations() -> Routes {
    let out = std::process::Command::new(WEIR).args(["openapi", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&out.stdout).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods =
        |item: &Value| item.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[test]
fn every_route_of_the_api_is_documented_and_no_other() {
    let operations = operations();
    assert!(operations.len() > 20, "{operations:?}");
    assert_eq!(documented(), operations, "host/docs/api.md and the OpenAPI document");
}

/// The path that shows the answer of a heading; none for one that needs a request of its own.
fn example_of(path: &str) -> String {
    match path {
        "/api/v1/dead-letters/{id}" => path.replace("{id}", "DEAD_LETTER_ID"),
        "/api/v1/quarantine/{id}" => path.replace("{id}", "QUARANTINE_ID"),
        path => path.replace("{id}", "EVENT_ID"),
    }
}

/// Objects whose keys are names of sources or targets.
const BY_NAME: [&str; 2] = ["queues", "sources"];

/// The fields of a value, as paths. A field that is null or empty is in `closed` too: nothing is
/// known of what it holds.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>, closed: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            let by_name = BY_NAME.iter().any(|name| path.ends_with(&format!(".{name}")));
            for (key, value) in object {
                let path = format!("{path}.{}", if by_name { "*" } else { key });
                found.insert(path.clone());
                fields(value, &path, found, closed);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                fields(item, &format!("{path}[]"), found, closed);
            }
        }
        Value::Null | Value::Object(_) | Value::Array(_) => {
            closed.insert(path.to_owned());
        }
        _ => {}
    }
}

#[test]
fn the_answers_have_the_documented_fields() {
    let document = Document::read("host/docs/api.md");
    let stage = Stage::with_hub();
    let token = format!("authorization: Bearer {}\r\n", stage.token());
    let mut wrong = Vec::new();
    let mut compared = 0;
    for section in document.text.split("\n### `GET ").skip(1) {
        let (path, rest) = section.split_once('`').unwrap();
        let rest = rest.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
        let Some((_, example)) = rest.split_once("```json\n") else { continue };
        let example: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
        let answer = get(stage.admin, "GET", &stage.fill_in(&example_of(path)), &token);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        let (mut live, mut closed) = (BTreeSet::new(), BTreeSet::new());
        fields(&answer, "", &mut live, &mut closed);
        let (mut listed, mut open) = (BTreeSet::new(), BTreeSet::new());
        fields(&example, "", &mut listed, &mut open);
        let is_below = |path: &str, of: &BTreeSet<String>| {
            of.iter()
                .any(|of| path.strip_prefix(of.as_str()).is_some_and(|r| r.starts_with(['.', '['])))
        };
        let missing =
            live.iter().filter(|field| !listed.contains(*field) && !is_below(field, &open));
        wrong.extend(missing.map(|field| format!("{path}: {field} is not documented")));
        let gone =
            listed.iter().filter(|field| !live.contains(*field) && !is_below(field, &closed));
        wrong.extend(gone.map(|field| format!("{path}: {field} is not in the answer")));
        compared += 1;
    }
    assert!(compared >= 8, "only {compared} answers have an example");
    assert!(wrong.is_empty(), "host/docs/api.md\n{}", wrong.join("\n"));
}

/// The words between backticks in the rows of a section's table.
fn codes(path: &str, heading: &str) -> Vec<String> {
    let document = Document::read(path);
    let (_, section) = document.text.split_once(heading).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let is_code = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter(is_code);
    words.map(str::to_owned).collect()
}

#[test]
fn every_documented_code_is_in_the_source() {
    let mut sources = String::new();
    let mut folders = vec![root().join("host/src"), root().join("host/core/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => sources.push_str(&fs::read_to_string(path).unwrap_or_default()),
            }
        }
    }
    for (document, heading) in
        [("host/docs/api.md", "\n## Errors\n"), ("host/docs/providers.md", "\n## Answers\n")]
    {
        let codes = codes(document, heading);
        assert!(codes.len() > 10, "{document}: {codes:?}");
        for code in codes {
            let is_there = sources.contains(&format!("\"{code}\""));
            assert!(is_there, "{document}: no refusal has the code `{code}`");
        }
    }
}
