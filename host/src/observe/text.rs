//! The two text formats of a scrape: Prometheus 0.0.4 and OpenMetrics 1.0.0.
//!
//! They differ in the family name of a counter, in units, in escapes and in the end mark. Not here:
//! the list of metrics.

use std::fmt::{self, Write as _};

use super::exposition::{MetricInfo, MetricKind};
use super::series::{CounterByCode, DurationHistogram};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers. Prometheus text without a preference, because
    /// every scraper reads it.
    #[must_use]
    pub fn wanted<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let ranges: Vec<Range<'_>> =
            accept.flat_map(|value| value.split(',')).filter_map(Range::read).collect();
        let best = |format| {
            let fits = ranges.iter().filter_map(|range| range.fits(format));
            // A more specific media range overrides a less specific one.
            fits.max_by_key(|(closeness, _)| *closeness).filter(|(_, quality)| *quality > 0)
        };
        let (Some((closeness, quality)), text) = (best(Self::OpenMetrics), best(Self::Prometheus))
        else {
            return Self::Prometheus;
        };
        match text {
            None => Self::OpenMetrics,
            Some((text_closeness, text_quality)) => {
                // At equal quality, the more specifically named format.
                let open_metrics = (quality, closeness);
                let is_named = closeness >= Closeness::Type;
                if is_named && open_metrics >= (text_quality, text_closeness) {
                    Self::OpenMetrics
                } else {
                    Self::Prometheus
                }
            }
        }
    }
}

/// The specificity with which a media range names a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Anything,
    Family,
    Type,
    Version,
}

struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    /// None if the text is not a media range.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| kind.contains('/'))?;
        let mut range = Self { kind, version: None, quality: 1_000 };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value),
                "q" => range.quality = quality(value)?,
                _ => {}
            }
        }
        Some(range)
    }

    fn fits(&self, format: Format) -> Option<(Closeness, u16)> {
        let (family, kind, version) = match format {
            Format::Prometheus => ("text/*", "text/plain", "0.0.4"),
            Format::OpenMetrics => ("application/*", "application/openmetrics-text", "1.0.0"),
        };
        let is = |text: &str| self.kind.eq_ignore_ascii_case(text);
        let closeness = if is("*/*") {
            Closeness::Anything
        } else if is(family) {
            Closeness::Family
        } else if is(kind) {
            match self.version {
                None => Closeness::Type,
                Some(asked) if asked == version => Closeness::Version,
                Some(_) => return None,
            }
        } else {
            return None;
        };
        Some((closeness, self.quality))
    }
}

/// A weight from 0 to 1 with at most three digits, in thousandths.
fn quality(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
    // The value is between 0 and 1000, so the cast loses nothing.
    (0..=1_000_u16).find(|thousandths| f32::from(*thousandths) / 1_000.0 >= weight - 0.000_1)
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

/// The text of a scrape while it is written.
#[derive(Debug)]
pub(super) struct Out {
    format: Format,
    text: String,
}

impl Out {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Writes a family with the series that `series` writes.
    pub(super) fn family(
        &mut self,
        metric: MetricInfo,
        series: impl FnOnce(&mut Series<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let family = match self.format {
            Format::OpenMetrics => metric.family(),
            Format::Prometheus => metric.name,
        };
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let help = escaped(metric.help, self.format == Format::OpenMetrics);
        writeln!(self.text, "# HELP {family} {help}")?;
        writeln!(self.text, "# TYPE {family} {kind}")?;
        if let (Format::OpenMetrics, Some(unit)) = (self.format, metric.unit()) {
            writeln!(self.text, "# UNIT {family} {unit}")?;
        }
        series(&mut Series { metric, text: &mut self.text })
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Writes the series of one family.
#[derive(Debug)]
pub(super) struct Series<'a> {
    metric: MetricInfo,
    text: &'a mut String,
}

impl Series<'_> {
    /// Writes a number with a value for each label of the family.
    pub(super) fn number(&mut self, values: &[&str], number: impl Into<Number>) -> fmt::Result {
        self.line("", values, None, number.into())
    }

    pub(super) fn by_code(&mut self, of: Option<&str>, counts: &CounterByCode) -> fmt::Result {
        counts.each().try_for_each(|(code, count)| match of {
            Some(of) => self.number(&[of, code], count),
            None => self.number(&[code], count),
        })
    }

    pub(super) fn durations(
        &mut self,
        values: &[&str],
        durations: &DurationHistogram,
    ) -> fmt::Result {
        let (sum, buckets) = durations.read();
        let mut count = 0;
        for (end, fell_into_it) in buckets {
            count += fell_into_it;
            self.line("_bucket", values, Some(end), count.into())?;
        }
        self.line("_count", values, None, count.into())?;
        self.line("_sum", values, None, sum.into())
    }

    fn line(
        &mut self,
        suffix: &str,
        values: &[&str],
        bucket: Option<f64>,
        number: Number,
    ) -> fmt::Result {
        debug_assert_eq!(self.metric.labels.len(), values.len());
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (label, value) in self.metric.labels.iter().zip(values) {
            write!(self.text, "{separator}{label}=\"{}\"", escaped(value, true))?;
            separator = ',';
        }
        if let Some(end) = bucket {
            write!(self.text, "{separator}le=\"{}\"", Number::Float(end))?;
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        writeln!(self.text, " {number}")
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&str]) -> Format {
        Format::wanted(accept.iter().copied())
    }

    #[test]
    fn scrapers_get_the_requested_format() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, format) in [
            ("text/plain;version=0.0.4", Prometheus),
            ("text/plain; version=0.0.4; charset=utf-8", Prometheus),
            ("text/plain", Prometheus),
            ("text/*", Prometheus),
            ("*/*", Prometheus),
            ("", Prometheus),
            ("application/json", Prometheus),
            ("application/*", OpenMetrics),
            ("nonsense", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text;version=1.0.0", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Prometheus),
            ("application/openmetrics-text;version=2.0.0, text/plain;version=0.0.4", Prometheus),
            // What Prometheus 2 and 3 send.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.1", Prometheus),
            ("text/plain;q=0.1,application/openmetrics-text;q=0.9", OpenMetrics),
            ("application/openmetrics-text, */*", OpenMetrics),
            ("text/plain;version=0.0.4, */*", Prometheus),
            ("application/openmetrics-text;q=0, */*", Prometheus),
            ("text/plain;q=0, application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.5", OpenMetrics),
            ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", Prometheus),
        ] {
            assert_eq!(wanted(&[accept]), format, "{accept}");
        }
        assert_eq!(wanted(&[]), Prometheus);
        let apart = ["text/plain;q=0.2", "application/openmetrics-text;version=1.0.0;q=0.8"];
        assert_eq!(wanted(&apart), OpenMetrics, "in two headers");
    }

    #[test]
    fn a_value_cannot_break_out_of_its_line() {
        assert_eq!(escaped("a\"b\\c\nd", true), "a\\\"b\\\\c\\nd");
        assert_eq!(escaped("a\"b\\c\nd", false), "a\"b\\\\c\\nd");
    }

    #[test]
    fn numbers_are_valid_in_both_formats() {
        let text = |number: Number| number.to_string();
        assert_eq!(text(7_u64.into()), "7");
        assert_eq!(text(0.0005.into()), "0.0005");
        assert_eq!(text(60.0.into()), "60.0");
        assert_eq!(text(f64::INFINITY.into()), "+Inf");
    }
}
