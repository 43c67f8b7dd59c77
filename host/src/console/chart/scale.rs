//! Axes: round numbers for counts, decades for durations. Pure.

use super::real;

/// A linear axis from zero.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    /// The top of the axis, at least 1.
    pub(super) top: u64,
    /// The marks from the top down to zero.
    pub(super) marks: Vec<u64>,
}

impl Linear {
    /// The axis for numbers up to this one: two to five steps of 1, 2 or 5 times a power of ten.
    pub(super) fn up_to(most: u64) -> Self {
        let most = most.max(1);
        let mut step = 1_u64;
        for factor in [2_u64, 5, 10].iter().cycle() {
            if most.div_ceil(step) <= 4 {
                break;
            }
            let decade = 10_u64.saturating_pow(step.ilog10());
            step = decade.saturating_mul(if *factor == 10 { 10 } else { *factor });
        }
        let steps = most.div_ceil(step);
        let top = step.saturating_mul(steps);
        let marks = (0..=steps).rev().map(|number| step.saturating_mul(number)).collect();
        Self { top, marks }
    }

    /// The height of a number on an axis of this height.
    pub(super) fn height(&self, number: u64, height: f64) -> f64 {
        real(number) / real(self.top) * height
    }
}

/// A logarithmic axis over whole decades.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decades {
    pub(super) from: i32,
    pub(super) to: i32,
}

impl Decades {
    /// The decades that hold all of these numbers, at least one and at most eight.
    pub(super) fn over(numbers: impl Iterator<Item = f64>) -> Self {
        let known = numbers.filter(|number| number.is_finite() && *number > 0.0);
        let range = known.fold(None, |range: Option<(f64, f64)>, number| {
            Some(range.map_or((number, number), |(low, high)| (low.min(number), high.max(number))))
        });
        let Some((low, high)) = range else { return Self { from: 0, to: 1 } };
        let (from, to) = (decade(low.log10().floor()), decade(high.log10().ceil()));
        Self { from: from.max(to - 8), to: to.max(from + 1) }
    }

    /// The distance from the top of an axis of this height.
    pub(super) fn y(self, number: f64, height: f64) -> f64 {
        let decades = f64::from(self.to - self.from);
        let above = (number.max(f64::MIN_POSITIVE).log10() - f64::from(self.from)) / decades;
        height - above.clamp(0.0, 1.0) * height
    }

    /// The decades from the top down.
    pub(super) fn marks(self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).rev().map(|power| 10_f64.powi(power))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is small")]
fn decade(power: f64) -> i32 {
    power.clamp(-12.0, 18.0) as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_end_on_round_numbers() {
        for (most, marks) in [
            (0, vec![1, 0]),
            (1, vec![1, 0]),
            (3, vec![3, 2, 1, 0]),
            (5, vec![6, 4, 2, 0]),
            (17, vec![20, 15, 10, 5, 0]),
            (30, vec![30, 20, 10, 0]),
            (2_700, vec![3_000, 2_000, 1_000, 0]),
            (99_999, vec![100_000, 50_000, 0]),
        ] {
            assert_eq!(Linear::up_to(most).marks, marks, "{most}");
        }
    }

    #[test]
    fn durations_stand_in_whole_decades() {
        let over = |numbers: &[f64]| Decades::over(numbers.iter().copied());
        assert_eq!(over(&[2.0, 35.0]), Decades { from: 0, to: 2 });
        assert_eq!(over(&[10.0]), Decades { from: 1, to: 2 });
        assert_eq!(over(&[]), Decades { from: 0, to: 1 });
        assert_eq!(over(&[0.0, f64::NAN]), Decades { from: 0, to: 1 });
        let axis = over(&[1.0, 100.0]);
        assert_eq!(
            [axis.y(1.0, 100.0), axis.y(10.0, 100.0), axis.y(100.0, 100.0)],
            [100.0, 50.0, 0.0]
        );
        assert_eq!(axis.marks().collect::<Vec<_>>(), [100.0, 10.0, 1.0]);
    }

    proptest! {
        #[test]
        fn every_count_lies_on_its_axis(most in 0..u64::MAX / 16) {
            let axis = Linear::up_to(most);
            prop_assert!(axis.top >= most && axis.marks.len() <= 5 && axis.marks.len() >= 2);
            prop_assert!(axis.height(most, 100.0) <= 100.0);
        }

        #[test]
        fn every_duration_lies_on_its_axis(numbers in prop::collection::vec(0.0..1e12_f64, 0..9)) {
            let axis = Decades::over(numbers.iter().copied());
            prop_assert!(axis.to > axis.from);
            for number in numbers {
                prop_assert!((0.0..=100.0).contains(&axis.y(number, 100.0)));
            }
        }
    }
}
