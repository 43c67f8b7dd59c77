//! `[log]` and `[shutdown]`: how the process speaks and how it ends.

use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::tree::Section;

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level or a filter.
    pub filter: String,
    /// One JSON object a line.
    pub json: bool,
}

pub(super) fn read(mut section: Section<'_>) -> Option<Log> {
    let filter = section.checked("level", |text: &String| {
        // A bare word that is no level would be taken for the name of a module, and silence everything else.
        let worded = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        let good = text.split(',').all(worded) && EnvFilter::try_new(text).is_ok();
        let what = "is no filter; write error, warn, info, debug, trace, or one such as \"info,weir=debug\"";
        if good { Ok(()) } else { Err(what.into()) }
    });
    let format = section.checked("format", |word: &String| match word.as_str() {
        "text" | "json" => Ok(()),
        _ => Err("must be \"text\" or \"json\"".into()),
    });
    section.finish();
    Some(Log { filter: filter?, json: format? == "json" })
}

pub(super) fn shutdown_grace(mut section: Section<'_>) -> Option<Duration> {
    let grace = section.must("grace");
    section.finish();
    grace
}
