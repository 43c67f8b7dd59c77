//! Bodies of forms as pairs of names and values. Pure.

use std::borrow::Cow;

/// Most fields that are shown.
pub(super) const FIELDS_MAX: usize = 200;
/// Bytes of a name or a value that are shown.
pub(super) const VALUE_BYTES: usize = 1024;

/// The fields of a form in `application/x-www-form-urlencoded`, in their order, decoded.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    bytes.split(|byte| *byte == b'&').filter(|field| !field.is_empty()).map(|field| {
        let at = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
        let (name, value) = field.split_at(at);
        (decoded(name), decoded(value.get(1..).unwrap_or_default()))
    })
}

/// Bytes with `+` and `%41` decoded. An escape that is not valid stays as it is.
fn decoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        let escape = after.get(..2).filter(|_| *byte == b'%');
        let mut value = [0; 1];
        if let Some(pair) = escape
            && hex::decode_to_slice(pair, &mut value).is_ok()
        {
            out.push(value[0]);
            rest = &after[2..];
        } else {
            out.push(if *byte == b'+' { b' ' } else { *byte });
            rest = after;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_in_their_order() {
        let found: Vec<_> = fields(b"text=a+b%2Fc&a=1&a=%zz%4&empty&&x=%C3%A9%1b")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let expected = [
            pair("text", "a b/c"),
            pair("a", "1"),
            pair("a", "%zz%4"),
            pair("empty", ""),
            pair("x", "é\u{1b}"),
        ];
        assert_eq!(found, expected);
    }
}
