//! The `poll` kind of source: a JSON document at a URL, asked for again and again.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use weir_core::bounds::{BODY_BYTES_MAX, MIB};
use weir_core::json_pointer::Pointer;

use super::PullContext;
use crate::config::context::LoadContext;
use crate::config::destination::server::timeout;
use crate::config::destination::{headers, read_allow};
use crate::config::tree::Section;
use crate::config::trust;
use crate::config::url::{endpoint, reachable};
use crate::config::value::Size;
use crate::guard::AllowedNetworks;
use crate::tls::TrustedRoots;
use weir_core::units::format_size;

/// Shortest time between two requests.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest such time: dedup keys live longer.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_BYTES: usize = 4 * MIB;

/// A document, and the items in it.
#[derive(Clone)]
pub struct PollSettings {
    pub url: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The time between two requests.
    pub interval: Duration,
    /// The list in the document.
    pub items: Pointer,
    /// The id in an item.
    pub item_id: Pointer,
    /// True if the last item of a document is the oldest.
    pub newest_first: bool,
    /// The largest document.
    pub max_bytes: usize,
    /// Time limit of a whole answer.
    pub timeout: Duration,
    pub allow: AllowedNetworks,
    pub trust: TrustedRoots,
}

/// Without the path of the URL, which may be a secret.
impl std::fmt::Debug for PollSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url: _, headers, interval, items, item_id, .. } = self;
        let Self { newest_first, max_bytes, timeout, allow, trust, .. } = self;
        let seen = (interval, items, item_id, newest_first, max_bytes, timeout, allow, trust);
        f.debug_struct("PollSettings")
            .field("origin", &self.origin())
            .field("headers", headers)
            .field("rest", &seen)
            .finish()
    }
}

impl PollSettings {
    /// The URL without its path.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.url.authority().map_or("", http::uri::Authority::as_str))
    }

    /// The parts that may be secrets.
    pub(super) fn hidden(&self) -> Vec<&[u8]> {
        let url = self.url.path_and_query().map(|path| path.as_str().as_bytes());
        let headers = self.headers.iter().map(|(_, value)| value.as_bytes());
        url.into_iter().chain(headers).collect()
    }
}

pub(super) fn read(
    section: &mut Section<'_>,
    PullContext { defaults, trust }: PullContext<'_>,
    context: &LoadContext<'_>,
) -> Option<PollSettings> {
    let url = section
        .must::<String>("url")
        .and_then(|text| endpoint(&text).map_err(|what| section.problem("url", what)).ok());
    let headers = headers(section, context);
    let interval = section.checked("interval", |time: &Duration| {
        let is_possible = (INTERVAL_MIN..=INTERVAL_MAX).contains(time);
        if is_possible { Ok(()) } else { Err("must be between 1s and 1d".into()) }
    });
    let items = match section.has("items") {
        true => pointer(section, "items"),
        false => pointer_of(section, "items", ""),
    };
    let item_id = pointer(section, "item_id");
    let newest_first = section.maybe("newest_first").unwrap_or(false);
    let max_bytes = section.maybe::<Size>("max_bytes");
    let max_bytes = match (section.has("max_bytes"), max_bytes) {
        (false, _) => Some(MAX_BYTES),
        (true, size) => size.map(|size| size.0),
    };
    if max_bytes.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        let what = format!("must be at most {}", format_size(BODY_BYTES_MAX));
        section.problem("max_bytes", what);
        return None;
    }
    let timeout = timeout(section, defaults);
    let allow = read_allow(section, context.mode.is_development());
    reachable(section, "url", url.as_ref(), allow);
    let trust = trust::with_ca(trust, section, context);
    Some(PollSettings {
        url: url?,
        headers,
        interval: interval?,
        items: items?,
        item_id: item_id?,
        newest_first,
        max_bytes: max_bytes?,
        timeout: timeout?,
        allow,
        trust,
    })
}

/// A required pointer.
fn pointer(section: &mut Section<'_>, key: &'static str) -> Option<Pointer> {
    let text = section.must::<String>(key)?;
    pointer_of(section, key, &text)
}

fn pointer_of(section: &mut Section<'_>, key: &'static str, text: &str) -> Option<Pointer> {
    section.mark_read(key);
    let parsed = Pointer::parse(text).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|pointer| match pointer.has_star() {
        true => Err("may not have a *".to_owned()),
        false => Ok(pointer),
    });
    parsed.map_err(|what| section.problem(key, what)).ok()
}
