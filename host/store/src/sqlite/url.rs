//! The store's URL: `sqlite:PATH`, with settings behind a question mark.

use std::path::{Path, PathBuf};

use super::files::store_files::StoreFiles;
use super::format::failure::engine_error;
use super::format::schema;
use super::upkeep::backup;
use super::{MIB, Options, open};
use crate::StoreOptions;
use crate::error::StoreError;
use crate::upkeep::{CheckReport, CopyProgress, StoreFormat};

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

/// Copies the store that a URL names, in use or not, into a new file, and checks the copy.
///
/// # Errors
/// `Invalid` if the file exists or there is no store, `Damaged` if the copy has a problem, and
/// `DiskFull`. Then there is no new file.
pub fn back_up_url(
    url: &str,
    to: &Path,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<CheckReport, StoreError> {
    backup::back_up(&StoreFiles::new(split(url)?.0, None), to, progress)
}

/// Copies a backup to the place that a URL names, and checks the copy.
///
/// # Errors
/// `Invalid` if there is a store or the file is none, `InUse` if a hub uses the place, `TooNew` or
/// `Damaged` for the backup, and `DiskFull`. Then nothing has changed.
pub fn restore_url(
    url: &str,
    from: &Path,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<CheckReport, StoreError> {
    backup::restore(&StoreFiles::new(split(url)?.0, None), from, progress)
}

/// The format of the store that a URL names. `None` if there is no store. Changes nothing.
///
/// # Errors
/// `TooNew` if a newer program wrote it, `Invalid` if it is not a store.
pub fn format_of_url(url: &str) -> Result<Option<StoreFormat>, StoreError> {
    let files = StoreFiles::new(split(url)?.0, None);
    if !files.path().exists() {
        return Ok(None);
    }
    let conn = files.onlooker().map_err(engine_error("open the store"))?;
    schema::compare(&conn).map(Some)
}

/// The path of the file that a URL names.
///
/// # Errors
/// `Invalid` for another kind of URL.
pub fn path_of_url(url: &str) -> Result<&Path, StoreError> {
    Ok(split(url)?.0)
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
