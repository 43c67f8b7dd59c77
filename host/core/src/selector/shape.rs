//! Text shapes: the form that a text must have before it is echoed or trusted.
//!
//! | text | meaning |
//! |---|---|
//! | `lower-hex:20-32` | 20 to 32 characters 0-9 and a-f |
//! | `digits:1-10` | 1 to 10 digits |
//! | `base64-lines` | the base64 alphabet, padding and line ends |

/// A parsed shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A minimum and maximum of lower-case hexadecimal digits.
    LowerHex(usize, usize),
    /// A minimum and maximum of decimal digits.
    Digits(usize, usize),
    /// Base64 in lines.
    Base64Lines,
}

impl Shape {
    /// Parses the notation above.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((word, range)) = text.split_once(':') else {
            return (text == "base64-lines").then_some(Self::Base64Lines);
        };
        let (least, most) = range.split_once('-')?;
        let (least, most) = (least.parse().ok()?, most.parse().ok()?);
        match word {
            _ if least > most => None,
            "lower-hex" => Some(Self::LowerHex(least, most)),
            "digits" => Some(Self::Digits(least, most)),
            _ => None,
        }
    }

    /// True if `text` has this shape.
    #[must_use]
    pub fn fits(self, text: &[u8]) -> bool {
        match self {
            Self::LowerHex(least, most) => {
                (least..=most).contains(&text.len())
                    && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            }
            Self::Digits(least, most) => {
                (least..=most).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
            }
            Self::Base64Lines => {
                text.iter().all(|b| b.is_ascii_alphanumeric() || b"+=/\n".contains(b))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_checks_length_and_alphabet() {
        let hex = Shape::parse("lower-hex:2-4").unwrap();
        for (text, fits) in
            [("a", false), ("0f", true), ("0F", false), ("abcd", true), ("abcde", false)]
        {
            assert_eq!(hex.fits(text.as_bytes()), fits, "{text}");
        }
        let lines = Shape::parse("base64-lines").unwrap();
        assert!(lines.fits(b"AA+/\n=") && !lines.fits(b"AA\r\n") && !lines.fits(b"AA<"));
        assert!(Shape::parse("digits:1-3").unwrap().fits(b"007"));
        for text in ["hex", "lower-hex:4-2", "lower-hex:x", "other:1-2", "digits:1"] {
            assert_eq!(Shape::parse(text), None, "{text}");
        }
    }
}
