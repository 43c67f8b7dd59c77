//! Timestamps and the clock trait. Does not read the operating system's clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01 UTC. In JSON it is the text that [`fmt::Display`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        u64::try_from(time.as_millisecond()).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Timestamp {
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, as signature schemes count.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// `d` later; saturates at the maximum.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }

    /// `d` earlier; saturates at the epoch.
    #[must_use]
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }

    /// The time from `earlier` to this timestamp; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds; saturates at the maximum.
#[must_use]
pub fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-23T15:52:19.004Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(ms) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// A clock: the operating system's in production, one that tests set by hand.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of the wall clock, which may be set forward and back.
    fn now(&self) -> Timestamp;

    /// The time since a fixed moment, which runs on when the wall clock is set. The default is for
    /// a clock that is never set back.
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now().as_millis())
    }
}

/// The time scale of due times, which never makes a wait longer than intended. It runs with the
/// wall clock. When the wall clock is set back, it runs on, and from then on is ahead of the wall
/// clock. It follows a clock that is set forward, or that of a machine that slept: deliveries are
/// due early, never late.
#[derive(Debug, Clone, Copy)]
pub struct DueClock {
    wall: Timestamp,
    monotonic: Duration,
    ahead: Duration,
}

impl DueClock {
    /// A smaller difference between the clocks is ignored, because they are not read at the same
    /// moment.
    const STEP_MIN: Duration = Duration::from_secs(1);

    /// A scale that is ahead of the wall clock by `ahead`, where the clocks read `wall` and
    /// `monotonic`.
    #[must_use]
    pub const fn new(wall: Timestamp, monotonic: Duration, ahead: Duration) -> Self {
        Self { wall, monotonic, ahead }
    }

    /// The current time of the scale. Both clocks are read now, the monotonic one first.
    pub fn advance(&mut self, wall: Timestamp, monotonic: Duration) -> Timestamp {
        let expected = self.wall.after(monotonic.saturating_sub(self.monotonic));
        let back = expected.since(wall);
        if back > Self::STEP_MIN {
            self.ahead = self.ahead.saturating_add(back);
        }
        if back > Self::STEP_MIN || wall.since(expected) > Self::STEP_MIN {
            (self.wall, self.monotonic) = (wall, monotonic);
        }
        wall.after(self.ahead)
    }

    /// The distance from the wall clock.
    #[must_use]
    pub const fn ahead(&self) -> Duration {
        self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_760_000_000_007).to_string(),
            "2025-10-09T08:53:20.007Z"
        );
    }

    #[test]
    fn a_timestamp_survives_json() {
        let t = Timestamp::from_millis(1_760_000_000_007);
        let json = serde_json::to_string(&t).unwrap();
        assert_eq!(json, "\"2025-10-09T08:53:20.007Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), t);
    }

    /// The scale starts at 1,000,000 s and is advanced with these readings of the wall clock and
    /// the monotonic clock, in seconds.
    fn line(looks: &[(u64, u64)]) -> Vec<u64> {
        let s = |s: u64| (Timestamp::from_millis(s * 1_000), Duration::from_secs(s));
        let mut line = DueClock::new(s(1_000_000).0, Duration::ZERO, Duration::ZERO);
        looks
            .iter()
            .map(|(wall, monotonic)| line.advance(s(*wall).0, s(*monotonic).1).as_secs())
            .collect()
    }

    #[test]
    fn a_clock_set_back_does_not_lengthen_a_wait() {
        // The clock is set back an hour after 10 s, and again after 20 s.
        let looks = [(1_000_010, 10), (996_410, 10), (996_420, 20), (992_825, 25)];
        assert_eq!(line(&looks), [1_000_010, 1_000_010, 1_000_020, 1_000_025]);
    }

    #[test]
    fn due_time_follows_a_clock_set_forward_and_stays_there() {
        let looks = [(1_003_600, 0), (1_003_610, 10), (1_000_020, 20), (1_000_030, 30)];
        assert_eq!(line(&looks), [1_003_600, 1_003_610, 1_003_620, 1_003_630]);
    }

    #[test]
    fn small_differences_between_clocks_are_ignored() {
        let (mut line, s) = (
            DueClock::new(Timestamp::from_millis(5_000), Duration::ZERO, Duration::ZERO),
            Duration::from_secs(9),
        );
        for apart in [900, 1_000, 0, 999] {
            let wall = Timestamp::from_millis(14_000 - apart);
            assert_eq!((line.advance(wall, s), line.ahead()), (wall, Duration::ZERO));
        }
        // Small differences that add up are a step.
        line.advance(Timestamp::from_millis(12_900), s);
        assert_eq!(line.ahead(), Duration::from_millis(1_100));
    }

    #[test]
    fn a_later_timestamp_is_zero_time_ago() {
        let t = Timestamp::from_millis(5);
        assert_eq!(t.since(t.after(Duration::from_secs(1))), Duration::ZERO);
    }
}
