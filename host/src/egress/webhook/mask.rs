//! Masks the credentials of an endpoint in its responses, which are stored and shown to operators.
//! Pure.
//!
//! An endpoint may repeat its URL, a header or a secret: unchanged, escaped (percent-encoding,
//! JSON, HTML, or several of them), in base64 or in hex, and cut short. So a text is searched with
//! its escapes and without them, and a long enough part of a credential is masked like the whole.

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD, URL_SAFE_NO_PAD,
};
use percent_encoding::percent_decode;
use rustc_hash::FxHashMap;

use super::unescape::UnescapedText;
use crate::config::{Webhook, WebhookAuth};

/// Shorter words are not masked: they are not secret, and are in many responses.
const BYTES_MIN: usize = 8;
/// A part of a word with this many bytes is masked.
const PART_BYTES: usize = 12;
/// A word's beginning with this many bytes is masked at the end of a text, where the word may have
/// been cut.
const CUT_BYTES_MIN: usize = 4;
/// Bytes of a part that are looked up in the index.
const KEY_BYTES: usize = 4;
/// Shorter headers are not masked in answers that become events.
const HEADER_BYTES_MIN: usize = 16;
/// Bytes of a long text that are searched together: a search takes forty times their memory.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of the next part that are searched too, so that a credential between two parts is found.
const OVERLAP_BYTES: usize = 4 * 1024;
/// The most layers of escapes that are undone.
const LAYERS_MAX: usize = 4;
/// Bytes to read after those that are kept, so that a secret which is cut there is found by its
/// rest: enough for [`PART_BYTES`] with every byte escaped three times.
pub(super) const READ_AHEAD: usize = 512;

/// The credentials of one endpoint.
pub(in crate::egress) struct SecretMask {
    /// In lower case.
    texts: PatternIndex,
    base64: PatternIndex,
    /// In hex, in lower case.
    hex: PatternIndex,
}

impl SecretMask {
    /// The credentials in its URL, its fixed headers, its signing secrets, and those that it is
    /// given.
    pub(super) fn new(webhook: &Webhook) -> Self {
        let mut words = SecretForms::default();
        words.url(&webhook.url);
        webhook.headers.iter().for_each(|(_, value)| words.header(value.as_bytes()));
        words.given(webhook);
        Self::of(words)
    }

    /// These words.
    pub(in crate::egress) fn of_words<'w>(words: impl IntoIterator<Item = &'w [u8]>) -> Self {
        let mut all = SecretForms::default();
        words.into_iter().for_each(|word| all.header(word));
        Self::of(all)
    }

    fn of(SecretForms(words): SecretForms) -> Self {
        let lower = words.iter().map(|word| word.to_ascii_lowercase());
        let texts = PatternIndex::of(lower.collect(), PART_BYTES);
        let base64 = words.iter().flat_map(|word| in_base64(word)).collect();
        let hex = words.iter().map(|word| hex::encode(word).into_bytes()).collect();
        Self {
            texts,
            base64: PatternIndex::of(base64, PART_BYTES / 3 * 4),
            hex: PatternIndex::of(hex, PART_BYTES * 2),
        }
    }

    /// The credentials that no answer has by chance: not short headers, nor the words of the URL,
    /// except for those that are long and have digits.
    pub(super) fn of_answers(webhook: &Webhook) -> Self {
        let mut words = SecretForms::default();
        words.url(&webhook.url);
        words
            .0
            .retain(|word| word.len() >= HEADER_BYTES_MIN && word.iter().any(u8::is_ascii_digit));
        let headers = webhook.headers.iter().map(|(_, value)| value.as_bytes());
        headers
            .filter(|value| value.len() >= HEADER_BYTES_MIN)
            .for_each(|value| words.header(value));
        words.given(webhook);
        Self::of(words)
    }

    /// Replaces every credential with stars. The text may have been cut at its end.
    pub(super) fn cover(&self, text: &mut [u8]) {
        self.cover_part(text, true);
    }

    /// Replaces every credential in a text that is complete, and may be long.
    pub(super) fn cover_whole(&self, text: &mut [u8]) {
        let mut from = 0;
        loop {
            let to = text.len().min(from + CHUNK_BYTES + OVERLAP_BYTES);
            self.cover_part(&mut text[from..to], false);
            if to == text.len() {
                return;
            }
            from += CHUNK_BYTES;
        }
    }

    fn cover_part(&self, text: &mut [u8], may_be_cut: bool) {
        let mut found = Vec::new();
        let plain = UnescapedText::of(text);
        // A credential may contain what looks like an escape of another kind than the one in which
        // it is repeated, so each kind is also undone alone.
        for first in *b"%\\&" {
            if let Some(view) = plain.unescaped_only(first) {
                self.find(&view, may_be_cut, &mut found);
            }
        }
        let mut layer = Some(plain);
        for _ in 0..=LAYERS_MAX {
            let Some(view) = layer else { break };
            self.find(&view, may_be_cut, &mut found);
            layer = view.unescaped();
        }
        found.into_iter().for_each(|place| text[place].fill(b'*'));
    }

    /// Adds the original ranges of all credentials in a view.
    fn find(&self, view: &UnescapedText, may_be_cut: bool, found: &mut Vec<Range<usize>>) {
        let squeezed = view.squeezed();
        let lower = squeezed.bytes.to_ascii_lowercase();
        for (parts, view, bytes) in [
            (&self.texts, view, &view.bytes.to_ascii_lowercase()),
            (&self.base64, &squeezed, &squeezed.bytes),
            (&self.hex, &squeezed, &lower),
        ] {
            parts.find(bytes, may_be_cut, |from, to| found.push(view.original(from..to)));
        }
    }

    /// The same for text.
    pub(in crate::egress) fn covered(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.cover(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The secret words, each in all forms without escapes.
#[derive(Default)]
struct SecretForms(BTreeSet<Box<[u8]>>);

impl SecretForms {
    /// Adds a word with its escapes and without them, because the text is searched in both forms.
    fn add(&mut self, word: &[u8]) {
        let word = word.trim_ascii();
        let mut forms = vec![percent_decode(word).collect::<Box<[u8]>>()];
        let mut layer = Some(UnescapedText::of(word));
        for _ in 0..=LAYERS_MAX {
            let Some(view) = layer else { break };
            layer = view.unescaped();
            forms.push(view.bytes.into());
        }
        for word in forms {
            if word.len() >= BYTES_MIN {
                if word.contains(&b' ') {
                    self.0
                        .insert(word.iter().map(|b| if *b == b' ' { b'+' } else { *b }).collect());
                }
                self.0.insert(word);
            }
        }
    }

    /// Adds the segments of the path, the values of the query, and the login.
    fn url(&mut self, url: &http::Uri) {
        let authority = url.authority().map_or("", |authority| authority.as_str());
        if let Some((login, _)) = authority.rsplit_once('@') {
            self.add(login.as_bytes());
            login.split(':').for_each(|part| self.add(part.as_bytes()));
        }
        for segment in url.path().split('/') {
            self.add(segment.as_bytes());
            // `bot123456:…`, `…;key=…`
            segment.split([':', ';', '=', ',']).for_each(|part| self.add(part.as_bytes()));
        }
        for pair in url.query().unwrap_or_default().split(['&', ';']) {
            let value = pair.split_once('=').map_or(pair, |(_, value)| value);
            self.add(value.as_bytes());
            self.add(value.replace('+', " ").as_bytes());
        }
    }

    /// Adds the words of a header's value, as in `Bearer …` and `user=…`, and both parts of a
    /// `Basic …` login.
    fn header(&mut self, value: &[u8]) {
        self.add(value);
        for word in value.split(|byte| b" \t,;\"".contains(byte)) {
            self.add(word);
            word.splitn(2, |byte| *byte == b'=').for_each(|part| self.add(part));
            if let Ok(login) = lenient().decode(word) {
                self.add(&login);
                login.splitn(2, |byte| *byte == b':').for_each(|part| self.add(part));
            }
        }
    }

    /// Adds what the operator gave as a secret.
    fn given(&mut self, webhook: &Webhook) {
        webhook.secrets.iter().for_each(|secret| self.secret(secret.expose()));
        let auth = webhook.auth.iter().flat_map(WebhookAuth::secrets);
        auth.for_each(|secret| self.header(secret.expose()));
        if let Some(WebhookAuth::Fixed(fixed)) = &webhook.auth {
            self.header(fixed.value.as_bytes());
        }
        let proxy = webhook.proxy.iter().flat_map(|proxy| &proxy.authorization);
        proxy.for_each(|(value, _)| self.header(value.as_bytes()));
        let routing = webhook.alerts.iter().filter_map(|alerts| alerts.routing_key.as_ref());
        routing.for_each(|key| self.add(key.expose()));
    }

    /// Adds a signing secret, and the key that it contains in base64.
    fn secret(&mut self, secret: &[u8]) {
        self.add(secret);
        for line in secret.split(|byte| byte.is_ascii_whitespace()) {
            self.add(line);
        }
        let text = secret.trim_ascii();
        let text = [&b"whsec_"[..], b"whsk_"]
            .iter()
            .find_map(|prefix| text.strip_prefix(*prefix))
            .unwrap_or(text);
        self.add(text);
        if let Ok(key) = lenient().decode(text)
            && key.len() >= BYTES_MIN
        {
            self.0.insert(key.into());
        }
    }
}

fn lenient() -> GeneralPurpose {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, lenient)
}

/// The base64 of a word inside any text, for each position of its start in a group of three bytes.
/// Without the characters that also depend on the bytes around the word.
fn in_base64(word: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for before in 0..3 {
        let text = [&[0; 2][..before], word].concat();
        // Bits of `before`, rounded up to characters, and whole characters of the word.
        let (from, to) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            all.extend(encoded.as_bytes().get(from..to).map(<[u8]>::to_vec));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Finds patterns, and parts of them that are long enough, in a text.
struct PatternIndex {
    patterns: Vec<Vec<u8>>,
    /// The patterns and positions of each sequence of bytes that a part can start with.
    starts: FxHashMap<[u8; KEY_BYTES], Vec<(usize, usize)>>,
    long_enough: usize,
}

impl PatternIndex {
    fn of(patterns: Vec<Vec<u8>>, long_enough: usize) -> Self {
        let mut starts = FxHashMap::<_, Vec<_>>::default();
        for (index, pattern) in patterns.iter().enumerate() {
            let least = pattern.len().min(long_enough);
            for at in 0..=pattern.len() - least {
                if let Some(key) = pattern[at..].first_chunk() {
                    starts.entry(*key).or_default().push((index, at));
                }
            }
        }
        Self { patterns, starts, long_enough }
    }

    /// Finds every part in a text, and at its end the beginning of one.
    fn find(&self, text: &[u8], may_be_cut: bool, mut found: impl FnMut(usize, usize)) {
        for at in 0..text.len() {
            let Some(key) = text[at..].first_chunk::<KEY_BYTES>() else { break };
            for (index, from) in self.starts.get(key).into_iter().flatten() {
                let pattern = &self.patterns[*index];
                let alike = text[at..].iter().zip(&pattern[*from..]);
                let length = alike.take_while(|(one, other)| one == other).count();
                let is_cut = may_be_cut
                    && *from == 0
                    && at + length == text.len()
                    && length >= CUT_BYTES_MIN;
                if length >= pattern.len().min(self.long_enough) || is_cut {
                    found(at, at + length);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "pa/s\"s+w&ör<d 1=%41";

    #[test]
    fn a_credential_between_two_parts_of_a_long_text_is_masked() {
        let mask = mask(&["t0ken-0123456789"]);
        for before in [0, 65_530, 65_536, 131_070, 200_000] {
            let mut text = "x".repeat(before).into_bytes();
            text.extend_from_slice(b"t0ken-0123456789");
            text.resize(250_000, b'y');
            mask.cover_whole(&mut text);
            let expected = format!("{}{}", "x".repeat(before), "*".repeat(16));
            assert!(text.starts_with(expected.as_bytes()), "{before}");
            assert!(text[expected.len()..].iter().all(|byte| *byte == b'y'), "{before}");
        }
        let mut beginning = b"it ends with t0ke".to_vec();
        mask.cover_whole(&mut beginning);
        assert_eq!(beginning, b"it ends with t0ke", "nothing was cut");
    }

    fn mask(words: &[&str]) -> SecretMask {
        let mut all = SecretForms::default();
        words.iter().for_each(|word| all.header(word.as_bytes()));
        SecretMask::of(all)
    }

    fn covered(words: &[&str], text: &str) -> String {
        mask(words).covered(text)
    }

    /// The forms in which an endpoint may write a text.
    fn forms(text: &str) -> Vec<String> {
        let percent = |upper: bool| {
            let byte = |b: u8| match (b.is_ascii_alphanumeric(), upper) {
                (true, _) => char::from(b).to_string(),
                (false, true) => format!("%{b:02X}"),
                (false, false) => format!("%{b:02x}"),
            };
            text.bytes().map(byte).collect::<String>()
        };
        let json = serde_json::to_string(text).unwrap();
        let json = json[1..json.len() - 1].to_owned();
        let unicode: String = text.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
        let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let html = html.replace('=', "&#x3D;").replace('/', "&#x2F;").replace('\'', "&#39;");
        let mut forms = vec![
            text.to_owned(),
            text.to_uppercase().replace('Ö', "ö"),
            json.replace('/', "\\/"),
            json.clone(),
            unicode,
            html.clone(),
            serde_json::to_string(&html).unwrap(),
            percent(true),
            percent(false),
            percent(true).replace('%', "%25"),
            percent(true).replace("%20", "+"),
            json.replace('\\', "\\\\"),
            hex::encode(text),
            hex::encode_upper(text),
        ];
        for before in ["", "x", "xy", "user:"] {
            let login = format!("{before}{text}");
            for engine in [&base64::engine::general_purpose::STANDARD, &STANDARD_NO_PAD] {
                forms.push(engine.encode(&login));
            }
            forms.push(URL_SAFE_NO_PAD.encode(&login));
            forms.push(base64::engine::general_purpose::URL_SAFE.encode(format!("{login}!!")));
        }
        let folded = STANDARD_NO_PAD.encode(text);
        forms.push(format!("{}\r\n{}", &folded[..7], &folded[7..]));
        forms
    }

    /// The number of characters that are not masked. Of base64 some are left that also depend on
    /// other bytes.
    fn left(text: &str) -> usize {
        text.chars().filter(|c| *c != '*' && !"=\r\n\"".contains(*c)).count()
    }

    #[test]
    fn credentials_are_masked_at_any_position() {
        let said = ["Bearer hunter2hunter2", "ops"];
        let text = "ops:hunter2hunter2hunter2hunter2, not hunter2!";
        assert_eq!(covered(&said, text), format!("ops:{}, not hunter2!", "*".repeat(28)));
        assert_eq!(covered(&[], "hunter2hunter2"), "hunter2hunter2");
    }

    #[test]
    fn a_secret_is_masked_in_every_form() {
        for form in forms(SECRET) {
            let mut words = SecretForms::default();
            words.add(SECRET.as_bytes());
            let covered = SecretMask::of(words).covered(&form);
            assert!(left(&covered) <= 10, "{form} became {covered}");
        }
        let mut words = SecretForms::default();
        words.secret(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let mask = SecretMask::of(words);
        for text in
            ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0"]
        {
            assert_eq!(left(&mask.covered(text)), 0, "{text}");
        }
    }

    #[test]
    fn segments_and_query_values_of_the_url_are_masked() {
        let url = "https://u5ername:pa55word@ops.example.com/hook/Segment-1234/a%2Fb%2Fsecret/\
                   bot77:AAHdqTcvCH1?token=t0k3n%2Bvalue&k=short&bareword-secret";
        let mut words = SecretForms::default();
        words.url(&url.parse().unwrap());
        let mask = SecretMask::of(words);
        for (text, shown) in [
            ("Cannot POST /hook/Segment-1234", "Cannot POST /hook/************"),
            ("u5ername / pa55word", "******** / ********"),
            ("a/b/secret and a%2fb%2fsecret", "********** and **************"),
            ("AAHdqTcvCH1 t0k3n+value", "*********** ***********"),
            ("t0k3n%2Bvalue short bareword-secret", "************* short ***************"),
            ("ops.example.com", "ops.example.com"),
        ] {
            assert_eq!(mask.covered(text), shown, "{text}");
        }
    }

    #[test]
    fn both_parts_of_a_basic_login_are_masked() {
        let header = format!("Basic {}", STANDARD_NO_PAD.encode("operator:correct horse"));
        let text = "login operator with correct horse failed";
        assert_eq!(covered(&[&header], text), "login ******** with ************* failed");
    }

    #[test]
    fn a_secret_that_looks_escaped_is_masked_in_other_escapes() {
        assert_eq!(covered(&[r#"aAAa\r"A"#], r"<aAAa\r&quot;A>"), "<*************>");
        assert_eq!(covered(&["ab%41&cd"], "<ab%41&amp;cd>"), "<************>");
    }

    #[test]
    fn parts_of_a_secret_are_masked() {
        let secret = "0123456789abcdefghij";
        assert_eq!(covered(&[secret], "token 01234567"), "token ********", "at the end");
        assert_eq!(covered(&[secret], "0123456789abcd... is no"), "**************... is no");
        assert_eq!(covered(&[secret], "...89abcdefghij is no"), "...************ is no");
        assert_eq!(covered(&[secret], "0123 is no"), "0123 is no");
    }

    proptest! {
        #[test]
        fn no_form_of_any_secret_is_shown(secret in "[ -~]{8,40}") {
            prop_assume!(secret.trim().len() >= BYTES_MIN);
            let secret = secret.trim();
            let mut words = SecretForms::default();
            words.add(secret.as_bytes());
            let mask = SecretMask::of(words);
            for form in forms(secret) {
                let covered = mask.covered(&format!("<{form}>"));
                prop_assert!(left(&covered) <= 14, "{} became {}", form, covered);
            }
        }

        #[test]
        fn any_response_can_be_masked(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut text = text;
            let length = text.len();
            mask(&[SECRET, "Bearer abcdefgh"]).cover(&mut text);
            prop_assert_eq!(text.len(), length);
        }
    }
}
