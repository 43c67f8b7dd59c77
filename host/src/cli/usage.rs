//! Errors of an invalid command line. A value is repeated only if it is a plain word: it may be a
//! secret that was pasted into the wrong place.

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::config::shown::is_word;

/// Longest value of a flag that is repeated.
const VALUE_BYTES_MAX: usize = 12;
/// Flags whose values are never repeated.
const SECRET: [&str; 7] =
    ["--secret", "--param", "--header", "--set", "--url", "--token", "--file"];
/// Shown in place of a value.
const HIDDEN: &str = "…";

/// Reads the process's command line, or ends the process.
pub(super) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| without_values(error).exit())
}

/// The same error without anything that may be a secret.
fn without_values(mut error: clap::Error) -> clap::Error {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let argument = text(&error, ContextKind::InvalidArg).unwrap_or_default();
    if error.kind() == ErrorKind::UnknownArgument && !is_flag(&argument) {
        hide(&mut error, ContextKind::InvalidArg);
    }
    let value = text(&error, ContextKind::InvalidValue).unwrap_or_default();
    let secret = SECRET.iter().any(|flag| argument.starts_with(flag));
    let plain = value.len() <= VALUE_BYTES_MAX && is_word(&value.to_ascii_lowercase());
    if !value.is_empty() && (secret || !plain || !is_word(&value)) {
        hide(&mut error, ContextKind::InvalidValue);
    }
    let command = text(&error, ContextKind::InvalidSubcommand).unwrap_or_default();
    if !is_command(&command) {
        hide(&mut error, ContextKind::InvalidSubcommand);
    }
    error
}

fn hide(error: &mut clap::Error, kind: ContextKind) {
    error.insert(kind, ContextValue::String(HIDDEN.into()));
    // It repeats the value, as in "to pass '…' as a value".
    error.remove(ContextKind::Suggested);
}

/// True for text that has the form of a flag without a value.
fn is_flag(text: &str) -> bool {
    let short = text.len() == 2 && text.starts_with('-') && text != "--";
    let long = text.strip_prefix("--").is_some_and(is_command);
    short || long
}

/// True for text that has the form of a command: lower-case words.
fn is_command(text: &str) -> bool {
    text.len() <= 24
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &[&str]) -> String {
        let error = Cli::try_parse_from([&["weir"], line].concat()).unwrap_err();
        without_values(error).to_string()
    }

    #[test]
    fn a_mistyped_command_line_repeats_no_secret() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----";
        for secret in [
            pem,
            "--BEGIN-MIIEvQ",
            "whsec_MIIEvQ",
            "hunter2-MIIEvQ",
            "-MIIEvQ",
            "miievqmiievqmiievqmiievqmiievq",
        ] {
            for line in [
                &["send", "github", "push", secret][..],
                &["send", "github", "push", "--sekret", secret],
                &["send", "github", "push", "--param", secret],
                &["send", "github", "push", "--count", secret],
                &["send", "github", "push", "--secret", "x", secret],
                &["secret", "generate", "github", secret],
                &["secret", secret],
                &["check", secret],
                &["events", "--token", "x", "--limit", secret],
                &[secret],
            ] {
                let Err(error) = Cli::try_parse_from([&["weir"], line].concat()) else { continue };
                let said = without_values(error).to_string();
                assert!(!said.to_lowercase().contains("miievq"), "{line:?}: {said}");
                assert!(!said.contains("hunter2"), "{line:?}: {said}");
            }
        }
    }

    #[test]
    fn a_mistyped_plain_word_is_repeated() {
        assert!(said(&["evnts"]).contains("'evnts'"), "{}", said(&["evnts"]));
        assert!(said(&["check", "--cnofig", "x"]).contains("--cnofig"));
        assert!(said(&["send", "github", "push", "--count", "many"]).contains("'many'"));
        assert!(said(&["send", "github", "push", "stray"]).contains(HIDDEN));
    }

    #[test]
    fn a_secret_may_begin_with_hyphens() {
        let pem = "-----BEGIN PRIVATE KEY-----\nAA";
        let read = Cli::try_parse_from(["weir", "send", "x", "y", "--secret", pem, "--count", "2"]);
        assert!(read.is_ok(), "{}", read.unwrap_err());
    }
}
