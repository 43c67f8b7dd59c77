//! Links between documents lead to files and headings that are there, and blocks say what they
//! hold.

use std::collections::BTreeSet;

use crate::document::{Document, root};

/// Longest README, in lines: a new user reads it in ten minutes.
const README_LINES_MAX: usize = 150;
/// Longest glossary, in words.
const GLOSSARY_WORDS_MAX: usize = 40;

/// The targets of `[text](target)` in a line.
fn targets(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(document: &Document) -> BTreeSet<String> {
    let headings = document.prose().into_iter().filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line)).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for document in Document::all() {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        for (number, line) in document.prose() {
            for target in targets(line) {
                if target.starts_with("http") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let path =
                    if file.is_empty() { root().join(&document.path) } else { folder.join(file) };
                let found = path.exists()
                    && (heading.is_empty() || {
                        let path = path.canonicalize().unwrap();
                        let path = path.strip_prefix(root().canonicalize().unwrap()).unwrap();
                        anchors(&Document::read(&path.display().to_string())).contains(heading)
                    });
                if !found {
                    broken.push(format!("{}:{number}: {target}", document.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn blocks_name_their_language() {
    let mut wrong = Vec::new();
    for document in Document::all() {
        for block in document.blocks() {
            let place = format!("{}:{}", document.path, block.line);
            match block.language.as_str() {
                "" => wrong.push(format!("{place}: a fence without a language; use `text`")),
                "console" if block.note.is_empty() => {
                    wrong
                        .push(format!("{place}: `console` without the reason why it does not run"));
                }
                "bash" | "shell" | "zsh" => wrong.push(format!("{place}: use `sh`, or `console`")),
                "toml" => {
                    if let Err(error) = block.text.parse::<toml::Table>() {
                        wrong.push(format!("{place}: {error}"));
                    }
                }
                "json" => {
                    let mut values = serde_json::Deserializer::from_str(&block.text).into_iter();
                    let bad = values.find_map(|value: Result<serde_json::Value, _>| value.err());
                    wrong.extend(bad.map(|error| format!("{place}: {error}")));
                }
                _ => {}
            }
        }
        let commands = ["    weir ", "    cargo ", "    curl "];
        let hidden = document.prose().into_iter();
        let hidden = hidden.filter(|(_, line)| commands.iter().any(|c| line.starts_with(c)));
        wrong.extend(
            hidden.map(|(n, _)| format!("{}:{n}: commands belong in a fence", document.path)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let lines = Document::read("README.md").text.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines, {README_LINES_MAX} at most");
}

#[test]
fn the_glossary_is_short_and_names_each_word_once() {
    let document = Document::read("host/README.md");
    let (_, section) = document.text.split_once("\n## Glossary\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| word"));
    let words: Vec<&str> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    let distinct: BTreeSet<&&str> = words.iter().collect();
    assert!(!words.is_empty() && words.len() <= GLOSSARY_WORDS_MAX, "{} words", words.len());
    assert_eq!(distinct.len(), words.len(), "a word stands in the glossary twice");
}

/// Folders of `host` by which a path in the text begins.
const FOLDERS: [&str; 9] =
    ["src/", "core/", "store/", "engine/", "sim/", "fuzz/", "tests/", "benches/", "docs/"];

#[test]
fn paths_in_the_text_exist() {
    let mut gone = Vec::new();
    for document in Document::all().iter().filter(|document| document.path.starts_with("host/")) {
        if document.path.starts_with("host/tests/guests") {
            continue;
        }
        for (number, line) in document.prose() {
            let words = line.split('`').skip(1).step_by(2);
            let paths = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
            for path in paths.filter(|path| !path.contains(['*', ' ', ':'])) {
                if !root().join("host").join(path).exists() {
                    gone.push(format!("{}:{number}: {path}", document.path));
                }
            }
        }
    }
    assert!(gone.is_empty(), "paths that are gone:\n{}", gone.join("\n"));
}
