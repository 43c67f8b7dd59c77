//! Instants as plain numbers, and the clock that others carry. No reading of the operating system's clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01 UTC. In JSON it is text, as [`fmt::Display`] writes it.
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
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, as signature schemes count.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This instant and `d` later; at the end of time, the end of time.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }

    /// This instant and `d` earlier; before the epoch, the epoch.
    #[must_use]
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds, the largest number where it does not fit.
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

/// Whoever knows the time: the operating system in production, a number that tests move by hand.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock now. It may be set, ahead and back.
    fn now(&self) -> Timestamp;

    /// Time since some moment, which runs on however the wall clock is set. As given here, for a clock that is never
    /// set back.
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now().as_millis())
    }
}

/// The line of time that due times stand on, so that a wait is no longer than it was meant to be. It runs with the
/// wall clock; when that is set back, it runs on, and is ahead of the wall clock by so much from there on. It follows
/// a clock that is set ahead, or that of a machine that slept: what is due comes early, and never late.
#[derive(Debug, Clone, Copy)]
pub struct DueClock {
    wall: Timestamp,
    monotonic: Duration,
    ahead: Duration,
}

impl DueClock {
    /// Less than this between two clocks is nobody's doing: they are not read at the same moment.
    const STEP_MIN: Duration = Duration::from_secs(1);

    /// A line that is so much ahead of the wall clock, which reads `wall` while the steady one reads `monotonic`.
    #[must_use]
    pub const fn new(wall: Timestamp, monotonic: Duration, ahead: Duration) -> Self {
        Self { wall, monotonic, ahead }
    }

    /// Where the line is, with both clocks read now, the steady one first.
    pub fn look(&mut self, wall: Timestamp, monotonic: Duration) -> Timestamp {
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

    /// How far the line is ahead of the wall clock.
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

    /// A line that begins at 1,000,000 s, looked at where wall clock and steady clock, in seconds, say so.
    fn line(looks: &[(u64, u64)]) -> Vec<u64> {
        let s = |s: u64| (Timestamp::from_millis(s * 1_000), Duration::from_secs(s));
        let mut line = DueClock::new(s(1_000_000).0, Duration::ZERO, Duration::ZERO);
        looks
            .iter()
            .map(|(wall, monotonic)| line.look(s(*wall).0, s(*monotonic).1).as_secs())
            .collect()
    }

    #[test]
    fn a_wait_is_as_long_as_it_was_meant_to_be_when_the_clock_is_set_back() {
        // An hour back after 10 s, and again after 20 s.
        let looks = [(1_000_010, 10), (996_410, 10), (996_420, 20), (992_825, 25)];
        assert_eq!(line(&looks), [1_000_010, 1_000_010, 1_000_020, 1_000_025]);
    }

    #[test]
    fn the_line_follows_a_clock_that_is_set_ahead_and_stays_there_when_that_is_undone() {
        let looks = [(1_003_600, 0), (1_003_610, 10), (1_000_020, 20), (1_000_030, 30)];
        assert_eq!(line(&looks), [1_003_600, 1_003_610, 1_003_620, 1_003_630]);
    }

    #[test]
    fn clocks_that_are_read_a_little_apart_move_nothing() {
        let (mut line, s) = (
            DueClock::new(Timestamp::from_millis(5_000), Duration::ZERO, Duration::ZERO),
            Duration::from_secs(9),
        );
        for apart in [900, 1_000, 0, 999] {
            let wall = Timestamp::from_millis(14_000 - apart);
            assert_eq!((line.look(wall, s), line.ahead()), (wall, Duration::ZERO));
        }
        // What adds up is a step after all.
        line.look(Timestamp::from_millis(12_900), s);
        assert_eq!(line.ahead(), Duration::from_millis(1_100));
    }

    #[test]
    fn an_instant_in_the_future_is_no_time_ago() {
        let t = Timestamp::from_millis(5);
        assert_eq!(t.since(t.after(Duration::from_secs(1))), Duration::ZERO);
    }
}
