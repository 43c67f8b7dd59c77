//! Numbers, sizes and durations as people read them. Pure.

use std::time::Duration;

/// A number with its thousands apart: `8,120`.
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun: `1 event`, `8,120 events`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    let noun = match one.strip_suffix('y') {
        _ if count == 1 => one.to_owned(),
        // A key makes keys.
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        Some(_) => format!("{one}s"),
        None => format!("{one}s"),
    };
    format!("{} {noun}", number(count))
}

/// A size: `412 bytes`, `3.1 kB`, `26 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", two_figures(bytes, 1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", two_figures(bytes, 1_000_000)),
        _ => format!("{} GB", two_figures(bytes, 1_000_000_000)),
    }
}

/// A duration with two figures or two units: `2.4 ms`, `84 ms`, `1.8 s`, `1 min 32 s`, `3 d 4 h`.
pub(crate) fn duration(time: Duration) -> String {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let secs = time.as_secs();
    match micros {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", two_figures(micros, 1_000)),
        1_000_000..60_000_000 => format!("{} s", two_figures(micros, 1_000_000)),
        _ if secs < 3_600 => two_units((secs / 60, "min"), (secs % 60, "s")),
        _ if secs < 86_400 => two_units((secs / 3_600, "h"), (secs / 60 % 60, "min")),
        _ => two_units((secs / 86_400, "d"), (secs / 3_600 % 24, "h")),
    }
}

/// A duration in whole seconds or more, for text that changes each second: `now`, `2 s`, `33 min`.
pub(crate) fn rough(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0 => "now".to_owned(),
        1..60 => format!("{secs} s"),
        60..3_600 => format!("{} min", secs / 60),
        3_600..86_400 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// Milliseconds of a statistic as a duration: `2.1 ms`.
pub(crate) fn millis(ms: f64) -> String {
    duration(Duration::from_micros(micros(ms)))
}

/// Milliseconds of a statistic as whole microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "durations are far below 2^64 µs, and a float that is not one becomes 0"
)]
pub(crate) fn micros(ms: f64) -> u64 {
    (ms * 1e3).max(0.0) as u64
}

/// A rate with three figures at most: `41.4`, `2.15`, `120`.
pub(crate) fn rate(a_second: f64) -> String {
    match a_second {
        rate if rate >= 100.0 => format!("{rate:.0}"),
        rate if rate >= 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.2}"),
    }
}

/// A share in percent. It says 100 only for all, and 0 only for none.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let hundredths = part.saturating_mul(10_000) / whole.max(1);
    let (percent, rest) = (hundredths / 100, hundredths % 100);
    match (percent, rest) {
        (0, 0) if part > 0 => "0.01".to_owned(),
        (_, 0) => percent.to_string(),
        (0, _) | (99, _) => format!("{percent}.{rest:02}"),
        _ => format!("{percent}.{}", rest / 10),
    }
}

fn two_units((many, unit): (u64, &str), (few, small): (u64, &str)) -> String {
    if few == 0 { format!("{many} {unit}") } else { format!("{many} {unit} {few} {small}") }
}

/// `amount / unit` with one decimal below ten, rounded down.
fn two_figures(amount: u64, unit: u64) -> String {
    let (whole, tenth) = (amount / unit, amount % unit * 10 / unit);
    if whole < 10 && tenth > 0 { format!("{whole}.{tenth}") } else { whole.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_in_groups_of_three() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(count), text);
        }
        let said = [(1, "key"), (2, "key"), (3, "delivery")].map(|(n, one)| counted(n, one));
        assert_eq!(said, ["1 key", "2 keys", "3 deliveries"]);
    }

    #[test]
    fn a_share_is_whole_only_if_it_is_all() {
        for (part, whole, text) in
            [(0, 9, "0"), (9, 9, "100"), (99_999, 100_000, "99.99"), (1, 1_000_000, "0.01")]
        {
            assert_eq!(share(part, whole), text);
        }
        assert_eq!(share(1, 3), "33.3");
        assert_eq!(
            (rate(41.36), rate(2.149), rate(120.4)),
            ("41.4".into(), "2.15".into(), "120".into())
        );
    }

    #[test]
    fn sizes_have_two_figures() {
        for (bytes, text) in
            [(412, "412 bytes"), (3_128, "3.1 kB"), (64_000, "64 kB"), (26_214_400, "26 MB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_have_two_figures_or_two_units() {
        for (micros, text) in [
            (0, "0 s"),
            (900, "900 µs"),
            (2_400, "2.4 ms"),
            (84_300, "84 ms"),
            (1_800_000, "1.8 s"),
            (15_000_000, "15 s"),
            (92_000_000, "1 min 32 s"),
            (7_200_000_000, "2 h"),
            (273_600_000_000, "3 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
        assert_eq!(rough(Duration::from_secs(2_000)), "33 min");
        assert_eq!(rough(Duration::from_millis(900)), "now");
    }
}
