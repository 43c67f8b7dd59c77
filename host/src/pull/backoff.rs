//! The wait before a lost connection is tried again: exponential with jitter. Pure.

use std::time::Duration;

/// The longest first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(15);
/// Doublings after which a wait is the longest one.
const DOUBLINGS_MAX: u32 = 6;

/// The wait after this many failures in a row, at least one. `random` is between 0 and 1: without
/// it, all hubs would try again at the same time when their server is back.
pub(super) fn wait(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let longest = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_differ() {
        let whole = |failures| wait(failures, 1.0);
        assert_eq!([whole(0), whole(1), whole(2)].map(|wait| wait.as_millis()), [250, 250, 500]);
        assert_eq!((whole(7), whole(u32::MAX)), (LONGEST, LONGEST));
        assert_eq!(wait(1, 0.0), FIRST / 2);
        assert!((1..20).all(|failures| wait(failures, 0.0) < whole(failures)));
    }
}
