//! Durations and sizes with units, as people write them: the one parser for configuration,
//! sidecars, provider files, flags and the API. Pure.

use std::time::Duration;

use thiserror::Error;

/// The maximum duration of a setting; more is a typing mistake.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// An error in the text of a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidDuration {
    #[error(
        "`{0}` is not a duration; write one such as \"500ms\", \"30s\", \"5m\", \"2h\", \
         \"35d\" or \"1h 30m\""
    )]
    Unreadable(String),
    #[error("`{0}` has no unit; write \"{0}s\" for seconds, or ms, m, h, d, w")]
    NoUnit(String),
    #[error("must be longer than zero")]
    Zero,
    /// Longer than [`DURATION_MAX`].
    #[error("`{0}` is longer than ten years")]
    TooLong(String),
}

/// An error in the text of a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSize {
    #[error("`{0}` has no unit; write \"{0}B\" for bytes, or KiB, MiB, GiB")]
    NoUnit(String),
    #[error("`{0}` is not a size; write one such as \"64KiB\" or \"1MiB\"")]
    Unreadable(String),
    #[error("must be more than zero bytes")]
    Zero,
}

/// The units of a duration: nanoseconds and names.
const UNITS: [(u64, &[&str]); 8] = [
    (1, &["ns"]),
    (1_000, &["us", "µs"]),
    (1_000_000, &["ms"]),
    (1_000_000_000, &["s", "sec", "secs", "second", "seconds"]),
    (60_000_000_000, &["m", "min", "mins", "minute", "minutes"]),
    (3_600_000_000_000, &["h", "hr", "hrs", "hour", "hours"]),
    (86_400_000_000_000, &["d", "day", "days"]),
    (604_800_000_000_000, &["w", "week", "weeks"]),
];

/// Parses a duration such as `500ms`, `30s` or `1h 30m`: whole numbers with units, added up.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let unreadable = || InvalidDuration::Unreadable(shortened(text));
    let too_long = || InvalidDuration::TooLong(shortened(text));
    let mut rest = text.trim();
    if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidDuration::NoUnit(shortened(rest)));
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(unreadable)?;
        let (number, after) = rest.split_at(end);
        if number.is_empty() {
            return Err(unreadable());
        }
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let found = UNITS.iter().find(|(_, names)| names.contains(&unit));
        let (size, _) = found.ok_or_else(unreadable)?;
        // A number that does not fit is longer than any permitted duration.
        let number: u64 = number.parse().map_err(|_| too_long())?;
        nanos = nanos.saturating_add(u128::from(number) * u128::from(*size));
        rest = after.trim_start();
    }
    match nanos {
        0 if text.trim().is_empty() => Err(unreadable()),
        0 => Err(InvalidDuration::Zero),
        nanos if nanos > DURATION_MAX.as_nanos() => Err(too_long()),
        nanos => Ok(Duration::from_nanos_u128(nanos)),
    }
}

/// Formats a duration in the largest units that state it exactly; [`parse_duration`] reads it back.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    const WRITTEN: [(u128, &str); 7] = [
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
    for (unit, word) in WRITTEN {
        if rest >= unit {
            parts.push(format!("{}{word}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// Parses a size such as `64KiB` to bytes.
pub fn parse_size(text: &str) -> Result<usize, InvalidSize> {
    let unreadable = || InvalidSize::Unreadable(shortened(text));
    let plain = text.trim();
    if !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidSize::NoUnit(shortened(plain)));
    }
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

/// Formats a size in the largest unit that states it exactly; [`parse_size`] reads it back.
#[must_use]
pub fn format_size(bytes: usize) -> String {
    const UNITS: [(usize, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let exact = UNITS.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes}B"), |(unit, word)| format!("{}{word}", bytes / unit))
}

/// A text from a file, cut to fit in one line of an error.
#[must_use]
pub fn shortened(text: &str) -> String {
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
    fn durations_have_units() {
        assert_eq!(parse_duration("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(parse_duration("35d"), Ok(Duration::from_secs(35 * 86_400)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration(" 2 weeks 1 day "), Ok(Duration::from_secs(15 * 86_400)));
        for bad in [
            "",
            " ",
            "5 parsecs",
            "-3s",
            "soon",
            "1.5h",
            "5M",
            "s",
            "5s 3",
            "1h, 2m",
            "PT5M",
            "1:30",
        ] {
            assert_eq!(
                parse_duration(bad),
                Err(InvalidDuration::Unreadable(bad.into())),
                "{bad:?}"
            );
        }
        assert_eq!(parse_duration("5"), Err(InvalidDuration::NoUnit("5".into())));
        assert_eq!(parse_duration("0s"), Err(InvalidDuration::Zero));
        assert!(matches!(parse_duration("4000d"), Err(InvalidDuration::TooLong(_))));
        assert!(matches!(
            parse_duration("99999999999999999999d"),
            Err(InvalidDuration::TooLong(_))
        ));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1MB"), Ok(1_000_000));
        assert_eq!(parse_size("5"), Err(InvalidSize::NoUnit("5".into())));
        for bad in ["", "5 bananas", "-3KiB"] {
            assert_eq!(parse_size(bad), Err(InvalidSize::Unreadable(bad.into())), "{bad:?}");
        }
        assert_eq!(parse_size("0KiB"), Err(InvalidSize::Zero));
    }

    #[test]
    fn a_long_word_is_cut_in_an_error() {
        let error = parse_size(&"x".repeat(5_000)).unwrap_err().to_string();
        assert!(error.len() < 300, "{error}");
    }

    proptest! {
        #[test]
        fn a_duration_survives_its_text_form(nanos in 1..DURATION_MAX.as_nanos()) {
            let given = Duration::from_nanos_u128(nanos);
            prop_assert_eq!(parse_duration(&format_duration(given)), Ok(given));
        }

        #[test]
        fn a_size_survives_its_text_form(bytes in 1..usize::MAX / 2) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            let whole = ((bytes >> 44) + 1) << 20;
            prop_assert_eq!(parse_size(&format_size(whole)), Ok(whole));
        }

        #[test]
        fn any_text_is_a_value_or_an_error_and_never_a_panic(text in "\\PC{0,40}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
