//! The rate of a job: a whole number of members per second, minute or hour, written as `50/s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::PAUSE_MAX;

/// Most members per second, minute or hour.
const COUNT_MAX: u32 = 1_000_000;

/// Text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidJobRate {
    #[error("write a number per second, minute or hour, such as 50/s")]
    Unit,
    #[error("write a whole number from 1 to {COUNT_MAX}, such as 50/s")]
    Number,
}

/// Members per second, minute or hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRate {
    count: u32,
    per: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
        }
    }
}

impl JobRate {
    /// The whole number of members in a second; 0 for a slower rate.
    #[must_use]
    pub fn in_a_second(self) -> usize {
        usize::try_from(self.count / self.per.seconds()).unwrap_or(usize::MAX)
    }

    /// The time that this many members take.
    #[must_use]
    pub fn time_of(self, members: u64) -> Duration {
        let nanos = u128::from(members) * u128::from(self.per.seconds()) * 1_000_000_000;
        let time = Duration::from_nanos_u128((nanos / u128::from(self.count)).min(u64::MAX.into()));
        time.min(PAUSE_MAX)
    }
}

impl FromStr for JobRate {
    type Err = InvalidJobRate;

    /// Reads `50/s`, `600/m`, `9000/h`, or `50` per second.
    fn from_str(text: &str) -> Result<Self, InvalidJobRate> {
        let (number, per) = match text.split_once('/') {
            None => (text, Unit::Second),
            Some((number, "s")) => (number, Unit::Second),
            Some((number, "m")) => (number, Unit::Minute),
            Some((number, "h")) => (number, Unit::Hour),
            Some(_) => return Err(InvalidJobRate::Unit),
        };
        match number.parse() {
            Ok(count @ 1..=COUNT_MAX) => Ok(Self { count, per }),
            _ => Err(InvalidJobRate::Number),
        }
    }
}

impl fmt::Display for JobRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.letter())
    }
}

impl Serialize for JobRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> JobRate {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_is_a_number_per_time() {
        assert_eq!(rate("50"), rate("50/s"));
        assert_eq!(rate("600/m").in_a_second(), 10);
        assert_eq!(rate("1800/h").in_a_second(), 0);
        assert_eq!(rate("1800/h").time_of(1), Duration::from_secs(2));
        for bad in ["", "0/s", "-1/s", "50/d", "fast", "1.5/s", "1000001", "5/s/s", "/s"] {
            assert!(bad.parse::<JobRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pause_has_a_limit() {
        assert_eq!(rate("1/h").time_of(u64::MAX), PAUSE_MAX);
        assert_eq!(rate("1/s").time_of(0), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_rate_reads_back_what_it_writes(count in 1..=COUNT_MAX, unit in "[smh]") {
            let given = rate(&format!("{count}/{unit}"));
            prop_assert_eq!(given.to_string().parse(), Ok(given));
        }
    }
}
