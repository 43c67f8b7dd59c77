//! Reference models: the rules of some headers and of forms, implemented a second time in another
//! way, to compare with.
//!
//! Slow and simple on purpose, and without any code of the hub.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::sources::NOW;

/// The maximum length of a header that a signature depends on, in bytes.
const HEADER_BYTES_MAX: usize = 8192;
/// The maximum number of items in a signature header.
const ITEMS_MAX: usize = 32;
/// The tolerance of a signed time, in seconds.
const TOLERANCE_S: u64 = 300;

/// HMAC-SHA256 over these parts.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// The items of a list, trimmed, without empty ones. `None` if there are too many or the header is
/// too long.
fn items(value: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let items = value.split(|b| *b == separator).map(<[u8]>::trim_ascii);
    let items: Vec<_> = items.filter(|item| !item.is_empty()).collect();
    (value.len() <= HEADER_BYTES_MAX && items.len() <= ITEMS_MAX).then_some(items)
}

/// The values of a key in `key=value,key=value`.
#[must_use]
pub fn pair_values<'a>(value: &'a [u8], key: &[u8]) -> Vec<&'a [u8]> {
    let items = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let under = |item: &'a [u8]| item.strip_prefix(key)?.strip_prefix(b"=");
    items.filter_map(under).collect()
}

/// True if `t=TIME,v1=HEX` is valid, where `right` is the signature for its time.
#[must_use]
pub fn is_right_pairs(value: &[u8], right: &[u8]) -> bool {
    let right = hex::encode(right);
    let [time] = pair_values(value, b"t")[..] else { return false };
    items(value, b',').is_some()
        && pair_values(value, b"v1").contains(&right.as_bytes())
        && is_now_in_seconds(time)
}

/// True if `v1,BASE64 v1,BASE64` is valid, where `right` holds the ways to write the signature.
#[must_use]
pub fn is_right_list(value: &[u8], right: &[String]) -> bool {
    let items = items(value, b' ').unwrap_or_default();
    let mut signatures = items.iter().filter_map(|item| item.strip_prefix(b"v1,"));
    signatures.any(|signature| right.iter().any(|right| right.as_bytes() == signature))
}

/// True for a time in seconds, as decimal digits, close to now.
#[must_use]
pub fn is_now_in_seconds(text: &[u8]) -> bool {
    digits(text).is_some_and(|seconds| seconds.abs_diff(NOW.as_secs()) <= TOLERANCE_S)
}

/// True for a time in milliseconds, as decimal digits, close to now.
#[must_use]
pub fn is_now_in_millis(text: &[u8]) -> bool {
    digits(text).is_some_and(|millis| millis.abs_diff(NOW.as_millis()) <= TOLERANCE_S * 1000)
}

/// The number of up to forty digits without a leading zero; `None` if it does not fit.
fn digits(text: &[u8]) -> Option<u64> {
    let sound = (1..=40).contains(&text.len())
        && text.iter().all(u8::is_ascii_digit)
        && text.first() != Some(&b'0');
    let step = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    sound.then(|| text.iter().try_fold(0, step))?
}

/// The token in `Authorization: SCHEME TOKEN`.
#[must_use]
pub fn credentials<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let space = value.iter().position(|b| *b == b' ')?;
    value[..space].eq_ignore_ascii_case(scheme.as_bytes()).then(|| value[space..].trim_ascii())
}

/// The decoded fields of a URL-encoded form: empty pieces are skipped, plus is a space, an invalid
/// escape stays as it is, and bytes that are not text become replacement characters.
#[must_use]
pub fn form(body: &[u8]) -> Vec<(String, String)> {
    let pieces = body.split(|b| *b == b'&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let at = piece.iter().position(|b| *b == b'=').unwrap_or(piece.len());
            (unescaped(&piece[..at]), unescaped(piece.get(at + 1..).unwrap_or_default()))
        })
        .collect()
}

fn unescaped(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escape = text.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(hex_byte);
        out.push(escape.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let mut digits = digits.iter().map(|b| char::from(*b).to_digit(16));
    digits.try_fold(0, |byte: u8, digit| Some(byte << 4 | u8::try_from(digit?).ok()?))
}
