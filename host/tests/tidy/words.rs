//! Words that readers stumbled over, how comments begin, and the glossary.

use std::sync::LazyLock;

use regex::Regex;

use crate::files::SourceFile;

/// Words that are not used, each with what to say instead. Written in pieces, because the rule
/// reads this file too.
const FORBIDDEN: [(&str, &str); 14] = [
    (concat!("no", "body"), "no sender, no operator, no handler"),
    (concat!("some", "body"), "sender, operator, client"),
    (concat!("any", "body"), "any sender, anyone"),
    (concat!("who", "ever"), "the sender, the operator, the client that"),
    (concat!("he", "ed"), "follow, apply"),
    (concat!("men", "ded"), "fixed"),
    (concat!("bor", "ne"), "carried, sent with"),
    (concat!("so m", "any"), "a limit of N"),
    (concat!("in d", "ebt"), "penalised"),
    (concat!("mad", "e place"), "closed the longest-idle connection"),
    (concat!("mak", "es place"), "closes the longest-idle connection"),
    (concat!("mak", "e place"), "close the longest-idle connection"),
    (concat!("by and ", "by"), "later, gradually"),
    (concat!("taken", " in"), "accepted"),
];

static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let words: Vec<_> = FORBIDDEN.iter().map(|(word, _)| word.replace(' ', r"[\s_]+")).collect();
    Regex::new(&format!(r"(?i)(?:\b|_)({})(?:\b|_)", words.join("|"))).expect("a pattern")
});

static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*//[/!] (What|Who|Whose|Which|How|Whether)\b").expect("a pattern")
});

static ONE_WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s*/// (The |An? )?[A-Za-z]+\.$").expect("a pattern"));

pub(crate) fn forbidden(file: &SourceFile) -> Vec<String> {
    let found = file.lines().filter_map(|(number, line)| {
        let word = PATTERN.captures(line)?.get(1)?.as_str().to_lowercase();
        let plain = word.replace('_', " ");
        let (_, instead) = FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == plain)?;
        Some(format!("{}:{number}: `{word}`; say: {instead}", file.path))
    });
    found.collect()
}

pub(crate) fn clause_first(file: &SourceFile) -> Vec<String> {
    let mut in_comment = false;
    let mut found = Vec::new();
    for (number, line) in file.lines().filter(|_| file.is_rust()) {
        let is_comment = line.trim_start().starts_with("//");
        if is_comment && !in_comment && CLAUSE.is_match(line) {
            found.push(format!("{}:{number}: say what it is:{line}", file.path));
        }
        in_comment =
            is_comment && !line.trim_end().ends_with("//!") && !line.trim_end().ends_with("///");
    }
    found
}

pub(crate) fn one_word(file: &SourceFile) -> Vec<String> {
    let mut before = "";
    let mut found = Vec::new();
    for (number, line) in file.lines().filter(|_| file.is_rust()) {
        let alone = !before.trim_start().starts_with("///");
        let next_is_code = |number: usize| {
            let next = file.text.lines().nth(number).unwrap_or_default();
            !next.trim_start().starts_with("///")
        };
        if alone && ONE_WORD.is_match(line) && next_is_code(number) {
            found.push(format!("{}:{number}: say more, or nothing:{line}", file.path));
        }
        before = line;
    }
    found
}

/// Checks that the section `## Glossary` holds a table of one to forty words.
pub(crate) fn glossary(readme: &str) -> Vec<String> {
    let section = readme.split("\n## Glossary").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let words =
        section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| word"));
    match words.filter(|line| !line.starts_with("| ---")).count() {
        1..=40 => Vec::new(),
        count => vec![format!("host/README.md: the glossary has {count} words, not 1 to 40")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::new("host/src/a.rs", text)
    }

    #[test]
    fn every_forbidden_word_is_found() {
        for (word, _) in FORBIDDEN {
            assert_eq!(forbidden(&file(&format!("// a {word} b"))).len(), 1, "{word}");
            let name = word.replace(' ', "_");
            assert_eq!(forbidden(&file(&format!("fn the_{name}_it() {{}}"))).len(), 1, "{word}");
        }
        assert_eq!(forbidden(&file("// heeding, one sender, the recommended way")).len(), 0);
    }

    #[test]
    fn a_comment_that_begins_with_a_clause_is_found() {
        assert_eq!(clause_first(&file("/// Whether it is open.\nx: bool")).len(), 1);
        assert_eq!(clause_first(&file("//! What waits.\n")).len(), 1);
        assert_eq!(
            clause_first(&file("/// True if it is open: it says\n/// What it is.\n")).len(),
            0
        );
    }

    #[test]
    fn a_comment_of_one_word_is_found() {
        assert_eq!(one_word(&file("/// Why.\nreason: String,")).len(), 1);
        assert_eq!(one_word(&file("/// The reason.\nreason: String,")).len(), 1);
        assert_eq!(one_word(&file("/// The reason, as text.\nreason: String,")).len(), 0);
    }

    #[test]
    fn a_glossary_that_is_empty_or_too_long_is_found() {
        let of = |words: usize| {
            let rows = "| hub | the process |\n".repeat(words);
            format!(
                "# a\n\n## Glossary\n\n| word | meaning |\n| --- | --- |\n{rows}\n## b\n| c | d |\n"
            )
        };
        assert_eq!(glossary(&of(40)).len(), 0);
        assert_eq!(glossary(&of(41)).len(), 1);
        assert_eq!(glossary(&of(0)).len(), 1);
    }
}
