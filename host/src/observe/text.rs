//! The two text formats of a scrape: Prometheus 0.0.4 and OpenMetrics 1.0.0.
//!
//! They differ in the family name of a counter, in units, in escapes, in examples and in the end
//! mark. Not here: the list of metrics.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use super::exposition::{MetricInfo, MetricKind};
use super::families::{MetricFamily, MetricPoint, Number, PointValue};
use super::series::Example;

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

/// The text of a scrape.
pub(super) fn write(families: &[MetricFamily], format: Format) -> String {
    let mut out = Out { format, text: String::new() };
    if families.iter().try_for_each(|family| out.family(family)).is_err() {
        // Writing to a string does not fail. If it did, an empty page is better than a part of one.
        return String::new();
    }
    if format == Format::OpenMetrics {
        out.text.push_str("# EOF\n");
    }
    out.text
}

struct Out {
    format: Format,
    text: String,
}

impl Out {
    fn family(&mut self, family: &MetricFamily) -> fmt::Result {
        let metric = &family.metric;
        let name = match self.format {
            Format::OpenMetrics => metric.family(),
            Format::Prometheus => metric.name,
        };
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let help = escaped(metric.help, self.format == Format::OpenMetrics);
        writeln!(self.text, "# HELP {name} {help}")?;
        writeln!(self.text, "# TYPE {name} {kind}")?;
        if let (Format::OpenMetrics, Some(unit)) = (self.format, metric.unit()) {
            writeln!(self.text, "# UNIT {name} {unit}")?;
        }
        family.series.iter().try_for_each(|point| self.point(metric, point))
    }

    fn point(&mut self, metric: &MetricInfo, point: &MetricPoint) -> fmt::Result {
        let labels = &point.labels;
        match &point.value {
            PointValue::Number(number) => self.line((metric, ""), labels, None, *number, None),
            PointValue::Durations { sum, buckets } => {
                let mut count = 0;
                for (end, fell_into_it, example) in buckets {
                    count += fell_into_it;
                    let name = (metric, "_bucket");
                    self.line(name, labels, Some(*end), count.into(), example.as_ref())?;
                }
                self.line((metric, "_count"), labels, None, count.into(), None)?;
                self.line((metric, "_sum"), labels, None, (*sum).into(), None)
            }
        }
    }

    fn line(
        &mut self,
        (metric, suffix): (&MetricInfo, &str),
        values: &[Box<str>],
        bucket: Option<f64>,
        number: Number,
        example: Option<&Example>,
    ) -> fmt::Result {
        self.text.push_str(metric.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (label, value) in metric.labels.iter().zip(values) {
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
        write!(self.text, " {number}")?;
        if let (Format::OpenMetrics, Some(Example { trace, seconds, at })) = (self.format, example)
        {
            let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let (whole, millis) = (at.as_secs(), at.subsec_millis());
            write!(self.text, " # {{trace_id=\"{trace}\"}} {seconds:?} {whole}.{millis:03}")?;
        }
        self.text.push('\n');
        Ok(())
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
}
