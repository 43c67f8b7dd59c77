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
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {one}{plural}", number(count))
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
        assert_eq!(
            (counted(1, "event"), counted(2, "event")),
            ("1 event".into(), "2 events".into())
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
