//! Percentiles of durations that were counted in buckets. Pure.

use std::time::Duration;

use super::series::BUCKETS_US;

/// The duration below which this share of the counted durations lies, interpolated within its
/// bucket; none if nothing was counted. Durations beyond the last bucket count as its end.
#[must_use]
pub fn percentile(counts: &[u64], share: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = share.clamp(0.0, 1.0) * as_f64(total);
    let mut below = 0.0;
    for (bucket, count) in counts.iter().enumerate() {
        let count = as_f64(*count);
        if count > 0.0 && below + count >= wanted {
            let start = bucket.checked_sub(1).and_then(|before| BUCKETS_US.get(before).copied());
            let last = BUCKETS_US[BUCKETS_US.len() - 1];
            let (start, end) =
                (start.unwrap_or(0), BUCKETS_US.get(bucket).copied().unwrap_or(last));
            let part = ((wanted - below) / count).clamp(0.0, 1.0);
            let micros = as_f64(start) + as_f64(end - start.min(end)) * part;
            return Some(Duration::from_secs_f64(micros / 1e6));
        }
        below += count;
    }
    None
}

/// A count; exact up to 2^53, which no counter of this program reaches.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(counts: &[u64], share: f64) -> f64 {
        percentile(counts, share).unwrap().as_secs_f64() * 1e3
    }

    #[test]
    fn nothing_counted_has_no_percentile() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[0; 17], 0.99), None);
    }

    #[test]
    fn a_percentile_lies_within_its_bucket() {
        // 90 between 1 and 2.5 ms, 10 between 25 and 50 ms.
        let mut counts = [0; 17];
        (counts[2], counts[6]) = (90, 10);
        assert!((1.0..=2.5).contains(&ms(&counts, 0.5)));
        assert!((ms(&counts, 0.9) - 2.5).abs() < 1e-9, "the end of the first 90");
        assert!((25.0..=50.0).contains(&ms(&counts, 0.99)));
        assert!(ms(&counts, 0.5) <= ms(&counts, 0.9) && ms(&counts, 0.9) <= ms(&counts, 0.99));
    }

    #[test]
    fn a_duration_beyond_the_last_bucket_counts_as_its_end() {
        let mut counts = [0; 17];
        counts[16] = 3;
        assert!((ms(&counts, 0.5) - 60_000.0).abs() < 1e-6);
    }
}
