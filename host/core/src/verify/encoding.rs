//! The encodings of signatures and keys as text.

use base64::Engine;
use base64::engine::general_purpose::{
    STANDARD, STANDARD_PAD_INDIFFERENT, URL_SAFE_NO_PAD, URL_SAFE_PAD_INDIFFERENT,
};

use super::scheme::Encoding;

/// The maximum length of a decoded signature, in bytes: RSA with 4096 bits.
pub(super) const SIGNATURE_BYTES_MAX: usize = 512;

impl Encoding {
    /// Decodes `text` into `buffer` and returns the written part; `None` if the text is invalid or
    /// too long.
    pub(crate) fn decode<'r>(self, text: &[u8], buffer: &'r mut [u8]) -> Option<&'r [u8]> {
        let length = match self {
            Self::Hex | Self::HexAnyCase => {
                if self == Self::Hex && text.iter().any(u8::is_ascii_uppercase) {
                    return None;
                }
                let length = text.len() / 2;
                hex::decode_to_slice(text, buffer.get_mut(..length)?).ok()?;
                length
            }
            Self::Base64 => STANDARD_PAD_INDIFFERENT.decode_slice(text, buffer).ok()?,
            Self::Base64Url => URL_SAFE_PAD_INDIFFERENT.decode_slice(text, buffer).ok()?,
            Self::Plain => {
                buffer.get_mut(..text.len())?.copy_from_slice(text);
                text.len()
            }
        };
        buffer.get(..length)
    }

    /// Encodes `bytes`. Plain bytes that are not UTF-8 become replacement characters.
    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex | Self::HexAnyCase => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
            Self::Plain => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
        encoding.decode(text.as_bytes(), &mut [0; SIGNATURE_BYTES_MAX]).map(<[u8]>::to_vec)
    }

    #[test]
    fn hex_is_lower_case_unless_the_scheme_says_otherwise() {
        assert_eq!(decoded(Encoding::Hex, "0aff"), Some(vec![10, 255]));
        assert_eq!(decoded(Encoding::Hex, "0aFF"), None);
        assert_eq!(decoded(Encoding::HexAnyCase, "0aFF"), Some(vec![10, 255]));
        assert_eq!(decoded(Encoding::Hex, "0af"), None);
    }

    #[test]
    fn base64_may_lack_padding_but_not_have_stray_bits() {
        assert_eq!(decoded(Encoding::Base64, "AAE="), Some(vec![0, 1]));
        assert_eq!(decoded(Encoding::Base64, "AAE"), Some(vec![0, 1]));
        assert_eq!(decoded(Encoding::Base64, "AAF="), None);
        assert_eq!(decoded(Encoding::Base64Url, "-_8"), Some(vec![251, 255]));
    }

    #[test]
    fn an_oversized_signature_does_not_decode() {
        let long = "a".repeat(4096);
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url, Encoding::Plain] {
            assert_eq!(decoded(encoding, &long), None);
        }
    }
}
