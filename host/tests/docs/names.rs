//! Names of code in the documents: every test that holds a promise, every hop of an event's path,
//! every hostile handler, exists in the file that is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::document::{Document, root};

/// Most hops of an event's path.
const HOPS_MAX: usize = 10;

/// The words between backticks.
fn words(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

fn is_function(word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.contains('_') && word.chars().all(is_part)
}

/// The Rust sources below `host`, by path.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root().join("host")).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&root().join("host"), &mut found);
    found
}

fn has_function(source: &str, name: &str) -> bool {
    let defines = |line: &str| {
        let rest = line.split_once("fn ").map(|(_, rest)| rest).and_then(|r| r.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with(['(', '<']))
    };
    source.lines().any(defines)
}

/// The mistake in a named function of a file, if there is one.
fn missing(sources: &BTreeMap<String, String>, file: &str, name: &str) -> Option<String> {
    match sources.get(file) {
        Some(source) if has_function(source, name) => return None,
        _ => {}
    }
    let elsewhere = sources.iter().filter(|(_, source)| has_function(source, name));
    let elsewhere: Vec<&str> = elsewhere.map(|(file, _)| file.as_str()).collect();
    Some(format!("`{name}` is not in `{file}`; it is in {elsewhere:?}"))
}

/// A list item under a promise is `FILE`: `test`, `test`, …, over one line or several.
#[test]
fn every_test_that_holds_a_promise_exists() {
    let document = Document::read("host/docs/promises.md");
    let sources = sources();
    let (mut file, mut tests, mut wrong) = (None, 0, Vec::new());
    for (number, line) in document.prose() {
        if !line.starts_with("  ") {
            file = None;
        }
        for word in words(line) {
            if word.ends_with(".rs") {
                if !sources.contains_key(word) {
                    wrong.push(format!("{number}: there is no file host/{word}"));
                }
                file = Some(word);
            } else if let Some(file) = file.filter(|_| is_function(word)) {
                tests += 1;
                wrong.extend(missing(&sources, file, word).map(|why| format!("{number}: {why}")));
            }
        }
    }
    assert!(tests > 100, "only {tests} tests are listed");
    assert!(wrong.is_empty(), "host/docs/promises.md\n{}", wrong.join("\n"));
}

/// A hop is one numbered item that begins with `FILE:FUNCTION`.
#[test]
fn every_hop_of_an_events_path_exists() {
    let document = Document::read("host/README.md");
    let (_, section) = document.text.split_once("\n## One event's path\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let sources = sources();
    let hops: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(|line| words(line).first().copied())
        .collect();
    assert!(hops.len() <= HOPS_MAX, "{} hops", hops.len());
    let wrong = hops.iter().filter_map(|hop| {
        let (file, function) = hop.split_once(':')?;
        missing(&sources, file, function)
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "host/README.md: {}", wrong.join("\n"));
}
