//! `[fetch]`: the requests that the hub makes itself.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_core::verify::Authorities;

use super::context::LoadContext;
use super::destination::read_allow;
use super::tree::Section;
use super::url::{endpoint, reachable};
use super::value::{Value as _, kind};
use crate::guard::AllowedNetworks;
use crate::tls::TrustedRoots;

/// Longest timeout: senders wait hardly longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
const AUTHORITY_FILES_MAX: usize = 16;
/// Largest such file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most mirrors.
const INSTEAD_MAX: usize = 64;

/// The settings of the hub's own requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSettings {
    /// The timeout of the whole answer.
    pub timeout: Duration,
    /// Mirrors: the beginning of a URL, and its replacement; the longest match counts.
    pub instead: Vec<(String, String)>,
    /// The addresses that mirrors may have besides public ones.
    pub allow: AllowedNetworks,
    /// The authorities for certificates that senders sign with: the public ones and the operator's.
    pub authorities: Authorities,
    /// The authorities for the servers that are called.
    pub trust: TrustedRoots,
}

impl FetchSettings {
    /// The URL to fetch for `url`, and true if it is a mirror of the operator. A URL from a sender
    /// never gets access to private addresses.
    #[must_use]
    pub fn place<'u>(&self, url: &'u str) -> (Cow<'u, str>, bool) {
        let fitting = self.instead.iter().filter(|(begins, _)| url.starts_with(begins.as_str()));
        match fitting.max_by_key(|(begins, _)| begins.len()) {
            Some((begins, with)) => (format!("{with}{}", &url[begins.len()..]).into(), true),
            None => (url.into(), false),
        }
    }
}

pub(super) fn read(
    mut section: Section<'_>,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<FetchSettings> {
    let timeout = section.checked("timeout", |timeout: &Duration| {
        if *timeout > TIMEOUT_MAX { Err("must be at most 30s".into()) } else { Ok(()) }
    });
    let instead = instead(&mut section);
    // Senders can cause these requests, so development mode permits nothing more.
    let allow = read_allow(&mut section, false);
    for (begins, with) in &instead {
        let key = format!("instead.{begins}");
        reachable(&section, &key, endpoint(with).ok().as_ref(), allow);
    }
    let trust = super::trust::with_ca(trust, &mut section, context);
    let authorities = authorities(&mut section, context);
    section.finish();
    Some(FetchSettings { timeout: timeout?, instead, allow, authorities, trust })
}

fn authorities(section: &mut Section<'_>, context: &LoadContext<'_>) -> Authorities {
    let mut trusted = Authorities::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let files = section.list::<PathBuf>("signing_authorities").unwrap_or_default();
    if files.len() > AUTHORITY_FILES_MAX {
        let what = format!("has more than {AUTHORITY_FILES_MAX} files");
        section.problem("signing_authorities", what);
    }
    for (index, file) in files.iter().take(AUTHORITY_FILES_MAX).enumerate() {
        let path = context.resolve(file);
        context.record_read(&path);
        let added = contents(&path).and_then(|pem| {
            trusted
                .add_pem(&pem)
                .map_err(|_| "contains something other than certificates in PEM".into())
        });
        if let Err(what) = added {
            let what = format!("{} {what}", path.display());
            section.problem(&format!("signing_authorities[{index}]"), what);
        }
    }
    trusted
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read(path).map_err(unreadable)
}

fn instead(section: &mut Section<'_>) -> Vec<(String, String)> {
    let given = section.entries("instead").unwrap_or_default();
    if given.len() > INSTEAD_MAX {
        section.problem("instead", format!("has more than {INSTEAD_MAX} entries"));
    }
    let mut instead = Vec::with_capacity(given.len());
    for (begins, _, value) in given {
        let key = format!("instead.{begins}");
        let Ok(with) = String::read(value.get_ref()) else {
            let found = kind(value.get_ref());
            section.problem(&key, format!("expected a URL in \"quotes\", found {found}"));
            continue;
        };
        let checked = endpoint(begins).and_then(|_| endpoint(&with));
        // Without the slash, a sender could extend the host name.
        let ends = |url: &str| url.matches('/').count() >= 3;
        match checked {
            Err(what) => section.problem(&key, what),
            Ok(_) if !ends(begins) || !ends(&with) => {
                section.problem(&key, "both need a path after the host, at least a slash");
            }
            Ok(_) => instead.push((begins.to_owned(), with)),
        }
    }
    instead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_matching_mirror_is_used() {
        let pair = |begins: &str, with: &str| (begins.to_owned(), with.to_owned());
        let fetch = FetchSettings {
            timeout: Duration::from_secs(5),
            instead: vec![
                pair("https://a.example/", "http://one/"),
                pair("https://a.example/b/", "http://two/x/"),
            ],
            allow: AllowedNetworks::default(),
            authorities: Authorities::default(),
            trust: TrustedRoots::default(),
        };
        assert_eq!(fetch.place("https://a.example/c"), ("http://one/c".into(), true));
        assert_eq!(fetch.place("https://a.example/b/c?d"), ("http://two/x/c?d".into(), true));
        let other = "https://a.example.evil/";
        assert_eq!(fetch.place(other), (other.into(), false));
    }
}
