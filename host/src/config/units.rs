//! Durations and sizes as people write them, always with a unit. Pure text to value and back.

use std::time::Duration;

use thiserror::Error;

/// The longest duration that a setting may have; past it lies a typing mistake, or an overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidDuration {
    /// Not a number with a unit.
    #[error(
        "`{0}` is not a duration; write one such as \"500ms\", \"30s\", \"5m\", \"2h\" or \"35d\""
    )]
    Unreadable(String),
    /// No time at all.
    #[error("must be longer than nothing")]
    Zero,
    /// Beyond [`DURATION_MAX`].
    #[error("`{0}` is longer than ten years")]
    TooLong(String),
}

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSize {
    /// Not a number with a unit.
    #[error("`{0}` is not a size; write one such as \"64KiB\" or \"1MiB\"")]
    Unreadable(String),
    /// No bytes at all.
    #[error("must be more than no bytes")]
    Zero,
}

/// Reads a duration such as `500ms`, `30s` or `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, InvalidDuration> {
    let unreadable = || InvalidDuration::Unreadable(shortened(text));
    // A sum of units overflows in the parser only beyond what is refused here anyway.
    let given = match humantime::parse_duration(text) {
        Ok(given) => given,
        Err(humantime::DurationError::NumberOverflow) => {
            return Err(InvalidDuration::TooLong(shortened(text)));
        }
        Err(_) => return Err(unreadable()),
    };
    if !text.bytes().any(|b| b.is_ascii_alphabetic()) && !given.is_zero() {
        return Err(unreadable());
    }
    match given {
        Duration::ZERO => Err(InvalidDuration::Zero),
        long if long > DURATION_MAX => Err(InvalidDuration::TooLong(shortened(text))),
        given => Ok(given),
    }
}

/// Writes a duration in the largest units that state it exactly, so that [`duration`] reads it back.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut rest = duration.as_nanos();
    let mut parts = Vec::new();
    for (unit, word) in UNITS {
        if rest >= unit {
            parts.push(format!("{}{word}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// Reads a size such as `64KiB` in bytes.
pub fn size(text: &str) -> Result<usize, InvalidSize> {
    let unreadable = || InvalidSize::Unreadable(shortened(text));
    if !text.bytes().any(|b| b.is_ascii_alphabetic()) {
        return Err(unreadable());
    }
    let bytes = text.parse::<bytesize::ByteSize>().map_err(|_| unreadable())?.as_u64();
    match usize::try_from(bytes) {
        Ok(0) => Err(InvalidSize::Zero),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(unreadable()),
    }
}

/// Writes a size in the largest unit that states it exactly, so that [`size`] reads it back.
#[must_use]
pub fn show_size(bytes: usize) -> String {
    const UNITS: [(usize, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let exact = UNITS.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes}B"), |(unit, word)| format!("{}{word}", bytes / unit))
}

/// A word out of a file, cut to what fits on a line of an error.
pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_written_with_their_unit() {
        assert_eq!(duration("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(duration("35d"), Ok(Duration::from_secs(35 * 86_400)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "5", "5 parsecs", "-3s", "soon"] {
            assert_eq!(duration(bad), Err(InvalidDuration::Unreadable(bad.into())), "{bad:?}");
        }
        assert_eq!(duration("0s"), Err(InvalidDuration::Zero));
        assert!(matches!(duration("11years"), Err(InvalidDuration::TooLong(_))));
        assert!(matches!(duration("99999999999999999999d"), Err(InvalidDuration::TooLong(_))));
    }

    #[test]
    fn sizes_are_written_with_their_unit() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1MB"), Ok(1_000_000));
        for bad in ["", "5", "5 bananas", "-3KiB"] {
            assert_eq!(size(bad), Err(InvalidSize::Unreadable(bad.into())), "{bad:?}");
        }
        assert_eq!(size("0KiB"), Err(InvalidSize::Zero));
    }

    #[test]
    fn a_long_word_is_cut_in_an_error() {
        let error = size(&"x".repeat(5_000)).unwrap_err().to_string();
        assert!(error.len() < 300, "{error}");
    }

    proptest! {
        #[test]
        fn a_duration_survives_its_text_form(nanos in 1..DURATION_MAX.as_nanos()) {
            let given = Duration::from_nanos_u128(nanos);
            prop_assert_eq!(duration(&show_duration(given)), Ok(given));
        }

        #[test]
        fn a_size_survives_its_text_form(bytes in 1..usize::MAX / 2) {
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
            let whole = ((bytes >> 44) + 1) << 20;
            prop_assert_eq!(size(&show_size(whole)), Ok(whole));
        }

        #[test]
        fn any_text_is_a_value_or_an_error_and_never_a_panic(text in "\\PC{0,40}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
