//! `[fetch]`: what the hub gets by itself, from whom, and how long that may take.

use std::borrow::Cow;
use std::time::Duration;

use super::destination::Allow;
use super::tree::Section;
use super::url::endpoint;
use super::value::{Value as _, kind};

/// Longest wait: the sender's own patience is hardly longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Most addresses that are asked instead of others.
const INSTEAD_MAX: usize = 64;

/// How the hub gets what it needs to know from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// For the whole answer.
    pub timeout: Duration,
    /// How an address begins, and what to write for that; the longest beginning that fits counts.
    pub instead: Vec<(String, String)>,
    /// Which addresses those that the operator wrote may have beside the internet's.
    pub allow: Allow,
}

impl Fetch {
    /// Where to ask for `url`, and whether the operator wrote that address: one that a sender named never gets inside.
    #[must_use]
    pub fn place<'u>(&self, url: &'u str) -> (Cow<'u, str>, bool) {
        let fitting = self.instead.iter().filter(|(begins, _)| url.starts_with(begins.as_str()));
        match fitting.max_by_key(|(begins, _)| begins.len()) {
            Some((begins, with)) => (format!("{with}{}", &url[begins.len()..]).into(), true),
            None => (url.into(), false),
        }
    }
}

pub(super) fn read(mut section: Section<'_>) -> Option<Fetch> {
    let timeout = section.checked("timeout", |timeout: &Duration| {
        if *timeout > TIMEOUT_MAX { Err("must be at most 30s".into()) } else { Ok(()) }
    });
    let instead = instead(&mut section);
    let allow = Allow::read(&mut section);
    section.finish();
    Some(Fetch { timeout: timeout?, instead, allow })
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
        // Without the slash, the host itself could be completed to another one.
        let ends = |url: &str| url.matches('/').count() >= 3;
        match checked {
            Err(what) => section.problem(&key, what),
            Ok(_) if !ends(begins) || !ends(&with) => {
                section.problem(&key, "both must go on after the host, with a slash at least");
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
    fn the_longest_beginning_that_fits_says_where_to_ask() {
        let pair = |begins: &str, with: &str| (begins.to_owned(), with.to_owned());
        let fetch = Fetch {
            timeout: Duration::from_secs(5),
            instead: vec![
                pair("https://a.example/", "http://one/"),
                pair("https://a.example/b/", "http://two/x/"),
            ],
            allow: Allow::default(),
        };
        assert_eq!(fetch.place("https://a.example/c"), ("http://one/c".into(), true));
        assert_eq!(fetch.place("https://a.example/b/c?d"), ("http://two/x/c?d".into(), true));
        let other = "https://a.example.evil/";
        assert_eq!(fetch.place(other), (other.into(), false));
    }
}
