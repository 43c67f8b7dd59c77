//! Names: those that were given up, those that mean two things, and those of tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::files::SourceFile;

/// Characters of a test's name.
const TEST_NAME: usize = 70;

/// Names of types that were replaced, each with its replacement. Written in two pieces, because
/// the rule reads this file too.
const RETIRED: [(&str, &str); 22] = [
    (concat!("W", "ay"), "LiveSource"),
    (concat!("Wa", "ys"), "LiveSources"),
    (concat!("Deb", "ts"), "RefusalLimiter"),
    (concat!("Enrol", "led"), "ConnectionGuard"),
    (concat!("Pati", "ence"), "Timeouts"),
    (concat!("Des", "k"), "HandlerRuntime"),
    (concat!("Mann", "ers"), "RunClass"),
    (concat!("Eff", "ort"), "CpuTimed"),
    (concat!("Trou", "ble"), "LoadFailure"),
    (concat!("Out", "let"), "DestinationRuntime"),
    (concat!("Await", "ed"), "ReplyBroker"),
    (concat!("Expect", "ation"), "ReplyReceiver"),
    (concat!("Respon", "dent"), "ResponderPolicy"),
    (concat!("Underst", "ood"), "Interpretation"),
    (concat!("Lear", "ned"), "PostCommit"),
    (concat!("Hee", "d"), "ClaimMode"),
    (concat!("Bor", "n"), "DeliveryDefaults"),
    (concat!("Leav", "e"), "SendPermit"),
    (concat!("Kee", "per"), "BreakerPersistence"),
    (concat!("Sou", "ght"), "a lookup"),
    (concat!("Hast", "ened"), "RetriedNow"),
    (concat!("Sa", "id"), "RunReply"),
];

/// Names that every package or module may have for itself, by Rust's custom.
const CUSTOMARY: [&str; 6] = ["Error", "Options", "Config", "Args", "Command", "Deps"];

static WORD: LazyLock<Regex> = LazyLock::new(|| {
    let names: Vec<_> = RETIRED.iter().map(|(name, _)| *name).collect();
    Regex::new(&format!(r"\b({})\b", names.join("|"))).expect("a pattern")
});

static DEFINED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^pub(?:\([a-z: ]+\))? (?:struct|enum|trait|type|union) ([A-Z]\w*)")
        .expect("a pattern")
});

static TEST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*(?:async )?fn ([a-z0-9_]+)\(").expect("a pattern"));

pub(crate) fn retired(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let found = file.lines().filter_map(|(number, line)| {
        // Prose may use these words; code may not.
        let code = line.split("//").next()?;
        let code: String = code.split('"').step_by(2).collect();
        let name = WORD.captures(&code)?.get(1)?.as_str().to_owned();
        let (_, now) = RETIRED.iter().find(|(retired, _)| *retired == name)?;
        Some(format!("{}:{number}: `{name}` is called {now} now", file.path))
    });
    found.collect()
}

/// Finds names of types that are visible outside of their file and are defined twice in the
/// product.
pub(crate) fn with_two_meanings(files: &[SourceFile]) -> Vec<String> {
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test_code()) {
        let product = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for name in DEFINED.captures_iter(product) {
            let name = name.get(1).map_or("", |name| name.as_str());
            places.entry(name).or_default().insert(&file.path);
        }
    }
    let twice = places.into_iter().filter(|(name, at)| at.len() > 1 && !CUSTOMARY.contains(name));
    twice
        .map(|(name, at)| format!("{name}: {}", at.into_iter().collect::<Vec<_>>().join(", ")))
        .collect()
}

pub(crate) fn long_test_names(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let names = tests_of(&file.text);
    let long = names.into_iter().filter(|name| name.len() > TEST_NAME);
    long.map(|name| format!("{}: {} characters: {name}", file.path, name.len())).collect()
}

/// The names of functions that follow a test's attribute.
fn tests_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("#[") && (line.contains("test]") || line.contains("test(")) {
            is_test = true;
        } else if is_test && let Some(name) = TEST.captures(line) {
            names.push(name[1].to_owned());
            is_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") && line.contains('{') {
            is_test = false;
        }
    }
    // Property tests stand in a macro, each after its attribute; these are found as well.
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::new(path, text)
    }

    #[test]
    fn a_retired_name_is_found_in_code_and_not_in_prose() {
        let name = RETIRED[0].0;
        assert_eq!(retired(&file("host/src/a.rs", &format!("struct {name};"))).len(), 1);
        assert_eq!(
            retired(&file("host/src/a.rs", &format!("let a = \"{name}\"; // {name}"))).len(),
            0
        );
    }

    #[test]
    fn a_type_name_with_two_meanings_is_found() {
        let a = file("host/src/a.rs", "pub(crate) struct Gate;");
        let b = file("host/src/b.rs", "pub enum Gate {}");
        let private = file("host/src/c.rs", "enum Gate {}");
        let test = file("host/tests/b.rs", "pub enum Gate {}");
        assert_eq!(with_two_meanings(&[a.clone(), b]).len(), 1);
        assert_eq!(with_two_meanings(&[a, private, test]).len(), 0);
    }

    #[test]
    fn a_long_test_name_is_found() {
        let of = |characters: usize| {
            let text = format!(
                "#[test]\nfn {}() {{}}\nfn {}() {{}}",
                "a".repeat(characters),
                "b".repeat(99)
            );
            long_test_names(&file("host/src/a.rs", &text)).len()
        };
        assert_eq!((of(70), of(71)), (0, 1));
    }
}
