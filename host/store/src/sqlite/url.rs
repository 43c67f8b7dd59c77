//! The store's URL: `sqlite:PATH`, with settings behind a question mark.

use std::path::{Path, PathBuf};

use super::{MIB, Options, open};
use crate::StoreOptions;
use crate::error::StoreError;
use crate::upkeep::CheckReport;

/// Size of the reserve file, if the URL does not say another.
const RESERVE_BYTES: u64 = 16 * MIB as u64;

/// Reads a URL such as `sqlite:data/weir.db?reserve_bytes=0`. Settings are `reserve_bytes`,
/// `readers` and `max_pages`, as in [`Options`].
///
/// # Errors
/// [`StoreError::Invalid`] for another kind of URL, an unknown setting or a bad number.
pub fn parse_url(url: &str, options: StoreOptions) -> Result<(PathBuf, Options), StoreError> {
    let (path, settings) = split(url)?;
    let mut options = Options { reserve_bytes: RESERVE_BYTES, ..Options::with(options) };
    for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
        let unknown = || StoreError::Invalid(format!("unknown setting {setting:?} in the URL"));
        let (name, value) = setting.split_once('=').ok_or_else(unknown)?;
        match name {
            "reserve_bytes" => options.reserve_bytes = number(name, value)?,
            "readers" => options.readers = number(name, value)?,
            "max_pages" => options.max_pages = Some(number(name, value)?),
            _ => return Err(unknown()),
        }
    }
    Ok((path.to_owned(), options))
}

/// Checks the whole store that a URL names, in use or not, and changes nothing.
///
/// # Errors
/// As [`open::check`], and `Invalid` for another kind of URL.
pub fn check_url(url: &str) -> Result<CheckReport, StoreError> {
    open::check(split(url)?.0)
}

fn split(url: &str) -> Result<(&Path, &str), StoreError> {
    // The URL is not repeated: it may hold a password.
    let invalid = || StoreError::Invalid("the URL of a store in a file must be sqlite:PATH".into());
    let rest = url.strip_prefix("sqlite:").ok_or_else(invalid)?;
    let (path, settings) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() { Err(invalid()) } else { Ok((Path::new(path), settings)) }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, StoreError> {
    let invalid = |_| StoreError::Invalid(format!("{name} in the URL must be a number"));
    value.parse().map_err(invalid)
}

#[cfg(test)]
mod tests {
    use weir_core::time::{Clock, Timestamp};

    use super::*;

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }
    }

    fn parsed(url: &str) -> Result<(PathBuf, Options), StoreError> {
        let clock = std::sync::Arc::new(Stopped);
        parse_url(url, StoreOptions { clock, run_slots: 3 })
    }

    #[test]
    fn settings_stand_behind_the_path() {
        let (path, options) = parsed("sqlite:data/weir.db?readers=2&max_pages=100").unwrap();
        assert_eq!(path, Path::new("data/weir.db"));
        assert_eq!((options.readers, options.max_pages, options.run_slots), (2, Some(100), 3));
        assert_eq!(options.reserve_bytes, RESERVE_BYTES);
        assert_eq!(parsed("sqlite:///var/weir.db").unwrap().0, Path::new("/var/weir.db"));
    }

    #[test]
    fn unknown_settings_and_bad_numbers_are_refused() {
        for url in ["sqlite:a?fast=1", "sqlite:a?readers", "sqlite:a?readers=x", "sqlite:", "a"] {
            assert!(matches!(parsed(url), Err(StoreError::Invalid(_))), "{url}");
        }
    }
}
