//! Charts as SVG: attributes and classes only, so that they obey the page's policy, with a sentence
//! for those who cannot see them. Pure.
//!
//! Not here: where numbers come from, and times in zones.

mod bars;
mod lines;
mod scale;

pub(crate) use bars::{Bars, bars};
pub(crate) use lines::{Line, latencies, latency_key, spark};

/// A colour by its meaning: a class of `weir.css`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// The quiet mass of what went well.
    Quiet,
    Warn,
    Bad,
    Hold,
}

impl Tone {
    /// The class of an area.
    const fn area(self) -> &'static str {
        match self {
            Self::Quiet => "a",
            Self::Warn => "cw",
            Self::Bad => "b",
            Self::Hold => "h",
        }
    }

    /// The class of a line.
    const fn line(self) -> &'static str {
        match self {
            Self::Quiet | Self::Warn => "l",
            Self::Bad => "l bl",
            Self::Hold => "l hl",
        }
    }

    /// The class of its name beside a chart.
    const fn key(self) -> &'static str {
        match self {
            Self::Quiet => "",
            Self::Warn => "kw",
            Self::Bad => "kb",
            Self::Hold => "kh",
        }
    }
}

/// Coordinates with at most one decimal, as short as they can be written.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A count as a coordinate. Counts on a chart are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "a pixel is coarser than a count of 2^52")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
