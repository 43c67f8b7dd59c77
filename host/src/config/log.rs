//! `[log]` and `[shutdown]`: the log, and the time to stop.

use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::tree::Section;
use crate::runtime::telemetry::LogSettings;

pub(super) fn read(mut section: Section<'_>) -> Option<LogSettings> {
    let filter = section.checked("level", |text: &String| {
        // A word that is not a level would be the name of a module, and turn off everything else.
        let worded = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        let good = text.split(',').all(worded) && EnvFilter::try_new(text).is_ok();
        let what = "is not a filter; write error, warn, info, debug, trace, or one such \
            as \"info,weir=debug\"";
        if good { Ok(()) } else { Err(what.into()) }
    });
    let format = section.checked("format", |word: &String| match word.as_str() {
        "text" | "json" => Ok(()),
        _ => Err("must be \"text\" or \"json\"".into()),
    });
    section.finish();
    Some(LogSettings { filter: filter?, json: format? == "json" })
}

pub(super) fn shutdown_grace(mut section: Section<'_>) -> Option<Duration> {
    let grace = section.must("grace");
    section.finish();
    grace
}
