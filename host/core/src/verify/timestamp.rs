//! The signed time: parsed strictly, and compared with the hub's clock.

use crate::time::{Timestamp, millis};

use super::VerifyError;
use super::scheme::{Direction, TimeUnit, TimestampRule};

/// The maximum length of a time, in bytes.
const TEXT_BYTES_MAX: usize = 40;
/// The number of digits of a time in seconds: from September 2001 to the year 2286. If the body is
/// signed directly after the time, a digit that moves from one to the other would leave the
/// signature valid.
const SECONDS_DIGITS: usize = 10;
/// The number of digits of a time in milliseconds, for the same years.
const MILLIS_DIGITS: usize = 13;

impl TimestampRule {
    /// Parses the time: only digits and exactly as many as expected, no sign, no fraction, no
    /// space. The checked time must be the signed text.
    pub(super) fn parse(&self, text: &[u8]) -> Result<Timestamp, VerifyError> {
        self.unit.parse(text).ok_or(VerifyError::TimestampMalformed)
    }

    /// Refuses a time too far from `now`.
    pub(super) fn check(&self, signed: Timestamp, now: Timestamp) -> Result<(), VerifyError> {
        let Some(tolerance) = self.tolerance else { return Ok(()) };
        // A scheme that counts seconds is compared in seconds, or 300.4 s would be more than 300 s.
        let grain = if self.unit == TimeUnit::Seconds { 1000 } else { 1 };
        let (signed_at, now_at) = (signed.as_millis() / grain, now.as_millis() / grain);
        let limit = millis(tolerance) / grain;
        let too_old = now_at.saturating_sub(signed_at) > limit;
        let too_new = self.direction == Direction::Both && signed_at.saturating_sub(now_at) > limit;
        if too_old || too_new {
            return Err(VerifyError::TimestampStale { skew_s: skew_s(now, signed) });
        }
        Ok(())
    }
}

fn skew_s(now: Timestamp, signed: Timestamp) -> i64 {
    let seconds = |t: Timestamp| i64::try_from(t.as_secs()).unwrap_or(i64::MAX);
    seconds(now).saturating_sub(seconds(signed))
}

impl TimeUnit {
    fn parse(self, text: &[u8]) -> Option<Timestamp> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let digits = |count: usize| {
            let digits = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| digits && !text.starts_with('0'))
        };
        let ms = match self {
            Self::Seconds => digits(SECONDS_DIGITS)? * 1000,
            Self::Millis => digits(MILLIS_DIGITS)?,
            Self::Rfc3339 => {
                u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()?
            }
        };
        Some(Timestamp::from_millis(ms))
    }

    /// Formats a time.
    pub(crate) fn write(self, at: Timestamp) -> String {
        match self {
            Self::Seconds => at.as_secs().to_string(),
            Self::Millis => at.as_millis().to_string(),
            Self::Rfc3339 => at.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rule(direction: Direction) -> TimestampRule {
        let tolerance = Some(Duration::from_secs(300));
        TimestampRule { from: Vec::new(), unit: TimeUnit::Seconds, tolerance, direction }
    }

    #[test]
    fn only_digits_are_accepted() {
        for text in ["", " 1", "+1", "-1", "1.0", "0x1", "1e3", "١", "99999999999999999999999"] {
            assert_eq!(TimeUnit::Seconds.parse(text.as_bytes()), None, "{text}");
        }
        let at = Timestamp::from_millis(1_614_265_330_000);
        assert_eq!(TimeUnit::Seconds.parse(b"1614265330"), Some(at));
        assert_eq!(TimeUnit::Millis.parse(b"1614265330000"), Some(at));
        assert_eq!(TimeUnit::Rfc3339.parse(b"2021-02-25T15:02:10Z"), Some(at));
        assert_eq!(TimeUnit::Rfc3339.parse(b"2021-02-25T07:02:10-08:00"), Some(at));
    }

    #[test]
    fn a_time_in_the_wrong_unit_is_refused() {
        assert_eq!(TimeUnit::Seconds.parse(b"1614265330000"), None);
        assert_eq!(TimeUnit::Millis.parse(b"1614265330"), None);
    }

    #[test]
    fn the_number_of_digits_is_fixed() {
        for text in ["161426533", "16142653301", "01614265330", "0614265330", "0"] {
            assert_eq!(TimeUnit::Seconds.parse(text.as_bytes()), None, "{text}");
        }
        for text in ["161426533000", "16142653300001", "01614265330000"] {
            assert_eq!(TimeUnit::Millis.parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_stale_time_reports_the_difference() {
        let at = |s: u64| Timestamp::from_millis(s * 1000 + 400);
        let both = rule(Direction::Both);
        assert_eq!(both.check(at(1000), at(1300)), Ok(()));
        assert_eq!(
            both.check(at(1000), at(1301)),
            Err(VerifyError::TimestampStale { skew_s: 301 })
        );
        assert_eq!(
            both.check(at(1301), at(1000)),
            Err(VerifyError::TimestampStale { skew_s: -301 })
        );
        assert_eq!(rule(Direction::Past).check(at(9000), at(1000)), Ok(()));
    }
}
