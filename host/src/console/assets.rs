//! The style and scripts of the pages: compiled in, addressed by a hash of their bytes, and cached
//! for a year. Everything else on this listener is never stored.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::admin::error::ApiError;

/// A file that pages refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asset {
    Style,
    Icon,
    /// Theme, zone, keys, copying and relative times; on every page.
    Frame,
    /// The live list of events.
    Live,
    /// The overview, which keeps up by itself.
    Overview,
    /// Finding a text in a body.
    Body,
}

impl Asset {
    const ALL: [Self; 6] =
        [Self::Style, Self::Icon, Self::Frame, Self::Live, Self::Overview, Self::Body];

    const fn file(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Style => ("weir", "css", include_str!("assets/weir.css")),
            Self::Icon => ("icon", "svg", include_str!("assets/icon.svg")),
            Self::Frame => ("frame", "js", include_str!("assets/frame.js")),
            Self::Live => ("live", "js", include_str!("assets/live.js")),
            Self::Overview => ("overview", "js", include_str!("assets/overview.js")),
            Self::Body => ("body", "js", include_str!("assets/body.js")),
        }
    }

    /// The bytes that a browser gets: without comments on lines of their own, and without indents.
    fn served(self) -> &'static str {
        static SERVED: LazyLock<Vec<String>> =
            LazyLock::new(|| Asset::ALL.iter().map(|asset| stripped(asset.file().2)).collect());
        &SERVED[self.index()]
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|asset| *asset == self).unwrap_or(0)
    }

    /// The address of the file: its name changes with its bytes.
    pub(crate) fn address(self) -> &'static str {
        static ADDRESSES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let address = |asset: &Asset| {
                let (name, ending, _) = asset.file();
                let hash = hex::encode(&Sha256::digest(asset.served().as_bytes())[..5]);
                format!("/-/{name}.{hash}.{ending}")
            };
            Asset::ALL.iter().map(address).collect()
        });
        &ADDRESSES[self.index()]
    }
}

/// Answers `/-/{file}`.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let wanted = |asset: &&Asset| asset.address().strip_prefix("/-/") == Some(&*name);
    let Some(asset) = Asset::ALL.iter().find(wanted) else {
        return Err(ApiError::not_found("not_found", "this file is of another version of the hub"));
    };
    let (_, ending, _) = asset.file();
    let kind = match ending {
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let year = HeaderValue::from_static("public, max-age=31536000, immutable");
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, year)];
    Ok((headers, asset.served()).into_response())
}

/// A text without its indents and without the comments that stand on lines of their own.
fn stripped(text: &str) -> String {
    let (mut out, mut in_comment) = (String::with_capacity(text.len()), false);
    for line in text.lines().map(str::trim) {
        let begins = line.starts_with("/*");
        let skipped = in_comment || begins || line.starts_with("//") || line.is_empty();
        in_comment = (in_comment || begins) && !line.contains("*/");
        // A comment before code on the same line stays: the code matters.
        if !skipped || (begins && !line.ends_with("*/") && line.contains("*/")) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_scripts_stay_within_their_budget() {
        let bytes = |asset: Asset| asset.served().len();
        assert!(bytes(Asset::Style) <= 25_000, "{}", bytes(Asset::Style));
        // A page has one script of its own at most.
        for own in [Asset::Live, Asset::Overview, Asset::Body] {
            let scripts = bytes(Asset::Frame) + bytes(own);
            assert!(scripts <= 12_000, "{own:?}: {scripts}");
        }
    }

    #[test]
    fn comments_and_indents_are_not_served() {
        let text =
            "// a\n/** b\n * c */\nlet x = 1; // d\n  /** @type {X} */ (y);\n/* e */\n\n  z();\n";
        assert_eq!(stripped(text), "let x = 1; // d\n/** @type {X} */ (y);\nz();\n");
    }

    #[test]
    fn scripts_obey_the_policy_of_the_pages() {
        for asset in Asset::ALL {
            let (name, ending, text) = asset.file();
            if ending == "js" {
                for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", ".style"] {
                    assert!(!text.contains(sink), "{name}.js uses {sink}");
                }
            }
        }
    }
}
