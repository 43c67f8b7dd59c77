//! Rules for the text of the project: how long files are, which words they use, what imports what.
//!
//! Not here: anything that the compiler, rustfmt or clippy checks. What the documents say is tested
//! in `tests/docs`.
//!
//! Each rule is a function of a file's path and text, and has a test that breaks it.

#![expect(clippy::expect_used, reason = "a test says what it expects by panicking")]

mod files;
mod imports;
mod lines;
mod locks;
mod names;
mod words;

use files::{SourceFile, project_files};

/// Fails with all violations of one rule, each with its place and what to do.
fn assert_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}: {} found\n{}", found.len(), found.join("\n"));
}

/// All violations of one rule in the files of the project.
fn violations(check: impl Fn(&SourceFile) -> Vec<String>) -> Vec<String> {
    project_files().iter().flat_map(check).collect()
}

#[test]
fn lines_are_short_enough() {
    assert_none("line length", violations(lines::too_long));
}

#[test]
fn files_are_short_enough() {
    assert_none("file length", violations(lines::too_many));
}

#[test]
fn every_file_says_what_lives_there() {
    assert_none("first line of a file", violations(lines::no_opening));
}

#[test]
fn words_are_plain() {
    assert_none("words", violations(words::forbidden));
}

#[test]
fn comments_say_what_a_thing_is() {
    assert_none("first words of a comment", violations(words::clause_first));
}

#[test]
fn comments_say_more_than_one_word() {
    assert_none("comments of one word", violations(words::one_word));
}

#[test]
fn retired_names_do_not_come_back() {
    assert_none("retired names", violations(names::retired));
}

#[test]
fn a_type_name_has_one_meaning() {
    assert_none("type names", names::with_two_meanings(&project_files()));
}

#[test]
fn test_names_are_short_claims() {
    assert_none("names of tests", violations(names::long_test_names));
}

#[test]
fn host_src_has_at_most_ten_loose_modules() {
    assert_none("loose modules", imports::too_many_loose_modules(&project_files()));
}

#[test]
fn folders_import_in_one_direction() {
    assert_none("import circles", imports::circles(&project_files()));
}

#[test]
fn the_glossary_has_at_most_forty_words() {
    assert_none("glossary", words::glossary(&files::text("host/README.md")));
}

#[test]
fn fuzz_targets_lock_what_the_core_depends_on() {
    let manifest = files::text("host/core/Cargo.toml");
    let lock = files::text("host/fuzz/Cargo.lock");
    assert_none("lock file", locks::not_locked("weir-core", &manifest, &lock));
}
