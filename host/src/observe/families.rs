//! The metrics of one moment as values: families with their series. Each way out of the hub writes
//! the same ones, so that all agree.
//!
//! Not here: text, and the list of metrics.

use std::fmt;

use super::exposition::MetricInfo;
use super::series::{CounterByCode, DurationHistogram, Example};

/// A metric with its series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MetricFamily {
    pub(super) metric: MetricInfo,
    pub(super) series: Vec<MetricPoint>,
}

/// A number or a histogram with a value for each label of its family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MetricPoint {
    pub(super) labels: Vec<Box<str>>,
    pub(super) value: PointValue,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum PointValue {
    Number(Number),
    Durations {
        /// In seconds.
        sum: f64,
        /// Each bucket's upper bound in seconds, its own count, and its newest example.
        buckets: Vec<(f64, u64, Option<Example>)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(u64),
    Float(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Number {
    fn from(holds: bool) -> Self {
        Self::Whole(holds.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Float(number) if number.is_infinite() && *number > 0.0 => f.write_str("+Inf"),
            // With a decimal point, as OpenMetrics requires for bucket bounds.
            Self::Float(number) => write!(f, "{number:?}"),
        }
    }
}

/// Families while they are collected.
#[derive(Debug, Default)]
pub(super) struct Families(pub(super) Vec<MetricFamily>);

impl Families {
    /// Adds a family with the series that `add` collects.
    pub(super) fn family(&mut self, metric: MetricInfo, add: impl FnOnce(&mut Series)) {
        let mut series = Series { metric, points: Vec::new() };
        add(&mut series);
        self.0.push(MetricFamily { metric, series: series.points });
    }
}

/// Collects the series of one family.
#[derive(Debug)]
pub(super) struct Series {
    metric: MetricInfo,
    points: Vec<MetricPoint>,
}

impl Series {
    /// Adds a number with a value for each label of the family.
    pub(super) fn number(&mut self, labels: &[&str], number: impl Into<Number>) {
        self.point(labels, PointValue::Number(number.into()));
    }

    pub(super) fn by_code(&mut self, of: Option<&str>, counts: &CounterByCode) {
        for (code, count) in counts.each() {
            match of {
                Some(of) => self.number(&[of, code], count),
                None => self.number(&[code], count),
            }
        }
    }

    pub(super) fn durations(&mut self, labels: &[&str], durations: &DurationHistogram) {
        let (sum, buckets) = durations.read();
        let with_example =
            |(at, (end, count)): (usize, (f64, u64))| (end, count, durations.example_of(at));
        let buckets = buckets.into_iter().enumerate().map(with_example).collect();
        self.point(labels, PointValue::Durations { sum, buckets });
    }

    fn point(&mut self, labels: &[&str], value: PointValue) {
        debug_assert_eq!(self.metric.labels.len(), labels.len());
        let labels = labels.iter().map(|label| (*label).into()).collect();
        self.points.push(MetricPoint { labels, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_valid_in_both_formats() {
        let text = |number: Number| number.to_string();
        assert_eq!(text(7_u64.into()), "7");
        assert_eq!(text(0.0005.into()), "0.0005");
        assert_eq!(text(60.0.into()), "60.0");
        assert_eq!(text(f64::INFINITY.into()), "+Inf");
    }
}
