//! The parts of a value that an error may show: a misplaced value may be a secret.

use std::path::Path;

/// Longest word that is shown.
const WORD_BYTES_MAX: usize = 40;
/// Longest path that is shown.
const PATH_BYTES_MAX: usize = 255;

/// True for a name like that of a variable: capitals, few digits, words with `_` between.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let longest = name.split('_').map(str::len).max().unwrap_or_default();
    name.bytes().all(of_name)
        && name.starts_with(|c: char| !c.is_ascii_digit())
        && name.len() <= 64
        && longest <= 16
        && digits * 4 <= name.len()
}

/// True for a path, and not a key written in place of its file.
pub(crate) fn is_path(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    let plain = text.len() <= PATH_BYTES_MAX && !text.contains(|c: char| c.is_control());
    let marks = ["BEGIN", "whsec_", "whsk_", "sk_", "rk_", "lin_wh_", "pdl_", "wsec_", "secret_"];
    let marked = text.split('/').any(|part| marks.iter().any(|mark| part.starts_with(mark)));
    plain && !marked && !text.contains("-----") && !text.split('/').any(is_random)
}

/// True for a word that an error may show: short, and unlike a secret.
pub(crate) fn is_word(word: &str) -> bool {
    let of_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    word.len() <= WORD_BYTES_MAX
        && word.bytes().all(of_word)
        && !is_random(word)
        && !word.starts_with("whsec")
}

/// An unknown name, hidden if it does not look like one.
pub(crate) fn name(text: &str) -> &str {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "-_.:/ ".contains(c);
    let marked = ["whsec", "sk_", "rk_"].iter().any(|mark| text.starts_with(mark));
    let plain = text.len() <= 48 && text.chars().all(of_name) && !text.contains("--");
    if plain && !marked && !text.split(['/', '.', ':', ' ']).any(is_random) { text } else { "…" }
}

/// True for a text that may be a secret: one with the mark of a secret, with a password in a URL,
/// or with a part that looks random.
pub(super) fn looks_secret(text: &str) -> bool {
    let marks = ["whsec_", "whsk_", "sk_", "rk_", "lin_wh_", "pdl_", "-----BEGIN", "Bearer "];
    let is_between = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-' | '+');
    let has_password = text.split_once("://").is_some_and(|(_, rest)| {
        rest.split('/').next().is_some_and(|authority| authority.contains('@'))
    });
    marks.iter().any(|mark| text.contains(mark))
        || has_password
        || text.split(is_between).any(is_random)
}

/// True for a text that looks random: long, without a full stop, with several kinds of characters.
fn is_random(part: &str) -> bool {
    let has = |kind: fn(&char) -> bool| part.chars().any(|c| kind(&c));
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let kinds = usize::from(has(char::is_ascii_uppercase))
        + usize::from(has(char::is_ascii_lowercase))
        + usize::from(digits > 0);
    let hexadecimal =
        part.len() >= 16 && digits >= 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
    hexadecimal || part.len() >= 16 && !part.contains('.') && kinds == 3
}

/// A parser's message without the values that it quotes, which may be secrets.
pub(super) fn without_values(sentence: &str) -> String {
    for (start, end) in [("string \"", "\", expected"), ("unknown variant `", "`, expected")] {
        let Some((before, rest)) = sentence.split_once(start) else { continue };
        let Some(at) = rest.rfind(end) else { continue };
        let (value, after) = rest.split_at(at);
        if !is_word(value) {
            let start = start.trim_end_matches(['"', '`']).trim_end();
            let after = after.get(1..).unwrap_or_default();
            return format!("{before}{start} (not repeated: it may be a secret){after}");
        }
    }
    sentence.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_place_of_a_name_is_not_printed() {
        for name in ["GITHUB_SECRET", "SECRET", "A", "STRIPE_KEY_2", "_X"] {
            assert!(is_variable_name(name), "{name}");
        }
        for name in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "hunter2",
            "4F2A",
            "A8F5F167F44F4964E6C998DEE827110C",
            "JBSWY3DPEHPK3PXPJBSWY3DP",
            "-----BEGIN PRIVATE KEY-----",
            "MY SECRET",
            "",
        ] {
            assert!(name.is_empty() || !is_variable_name(name), "{name}");
        }
    }

    #[test]
    fn a_secret_in_place_of_a_path_is_not_printed() {
        for path in ["secrets/github", "/run/secrets/stripe-old", "no/such", "C3/Key1.pem"] {
            assert!(is_path(Path::new(path)), "{path}");
        }
        for path in [
            "-----BEGIN PRIVATE KEY-----\nMIIE",
            "whsec_MfKQ",
            "a8f5f167f44f4964e6c998dee827110c",
            "base/MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert!(!is_path(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn values_are_removed_from_parser_messages() {
        let kept = "unknown variant `md5`, expected one of `hmac-sha1`, `hmac-sha256`";
        assert_eq!(without_values(kept), kept);
        let said = without_values("unknown variant `whsec_MfKQ`, expected one of `utf8`, `hex`");
        assert!(
            !said.contains("MfKQ") && said.ends_with(", expected one of `utf8`, `hex`"),
            "{said}"
        );
        let said = without_values("invalid type: string \"Hunter2 \\\" x\", expected struct S");
        assert!(!said.contains("Hunter2") && said.ends_with(", expected struct S"), "{said}");
    }
}
