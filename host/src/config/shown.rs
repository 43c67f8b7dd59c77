//! What an error may repeat of what an operator wrote: a value in the wrong place may be the secret itself.

use std::path::Path;

/// Longest word that is repeated.
const WORD_BYTES_MAX: usize = 40;
/// Longest path that is repeated.
const PATH_BYTES_MAX: usize = 255;

/// True for the name of a variable as they are written: capitals, few digits, words with `_` between.
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

/// True for a path that looks like one and not like a key that was written where its file belongs.
pub(crate) fn is_path(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    let plain = text.len() <= PATH_BYTES_MAX && !text.contains(|c: char| c.is_control());
    let marks = ["BEGIN", "whsec_", "whsk_", "sk_", "rk_", "lin_wh_", "pdl_", "wsec_", "secret_"];
    let marked = text.split('/').any(|part| marks.iter().any(|mark| part.starts_with(mark)));
    plain && !marked && !text.contains("-----") && !text.split('/').any(is_random)
}

/// True for a word that may be repeated in an error: short, and with nothing of a secret about it.
pub(crate) fn is_word(word: &str) -> bool {
    let of_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    word.len() <= WORD_BYTES_MAX
        && word.bytes().all(of_word)
        && !is_random(word)
        && !word.starts_with("whsec")
}

/// A name that was asked for and is not there; not repeated if it does not look like one.
pub(crate) fn name(text: &str) -> &str {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "-_.:/ ".contains(c);
    let marked = ["whsec", "sk_", "rk_"].iter().any(|mark| text.starts_with(mark));
    let plain = text.len() <= 48 && text.chars().all(of_name) && !text.contains("--");
    if plain && !marked && !text.split(['/', '.', ':', ' ']).any(is_random) { text } else { "…" }
}

/// True for what looks drawn at random: long, with no full stop, and of several kinds of characters.
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

/// A parser's sentence without the values that it quotes: a secret may stand where a word is expected.
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
    fn a_secret_in_the_place_of_a_name_is_not_repeated() {
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
    fn a_secret_in_the_place_of_a_path_is_not_repeated() {
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
    fn a_parsers_sentence_loses_the_value_it_quotes() {
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
