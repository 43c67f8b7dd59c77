//! The vectors of every file; a file that fails its own vectors is refused.

use weir_core::provider::{Provider, ProviderError};

use crate::support::CATALOG;

const GITHUB: &str = include_str!("../../providers/github.toml");

#[test]
fn every_built_in_provider_passes_its_vectors() {
    assert!(CATALOG.iter().count() >= 8);
    for provider in CATALOG.iter() {
        assert_eq!(provider.check_vectors(), [], "{}", provider.name);
    }
}

#[test]
fn a_file_that_accepts_a_forged_vector_is_refused() {
    let without_refusals = ["mismatch", "missing"].iter().fold(GITHUB.to_owned(), |file, why| {
        file.replace(&format!("refused = \"signature_{why}\"\n"), "")
    });
    let ProviderError::Invalid(problems) = Provider::load(&without_refusals).unwrap_err() else {
        panic!()
    };
    assert!(problems.iter().any(|p| p.path == "vectors.docs-hello-tampered"), "{problems:?}");
    assert!(problems.iter().any(|p| p.path == "vectors.*"), "{problems:?}");
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let ProviderError::Format { message } =
        Provider::load(&format!("colour = 1\n{GITHUB}")).unwrap_err()
    else {
        panic!()
    };
    assert!(message.contains("line 1") && message.contains("colour"), "{message}");
}

#[test]
fn every_problem_is_reported_at_once() {
    let broken = GITHUB
        .replace("name = \"github\"", "name = \"Git Hub\"")
        .replace("header:X-GitHub-Event\"\nid", "heder:X\"\nid")
        .replace("create = \"created\"", "create = \"born\"")
        .replace("dedup = \"id+body\"", "dedup = \"id\"");
    let ProviderError::Invalid(problems) = Provider::load(&broken).unwrap_err() else { panic!() };
    let paths: Vec<_> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["name", "type", "dedup", "categories.\"create\""]);
}
