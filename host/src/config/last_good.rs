//! The last good versions of provider files, saved in the data folder, so that a broken file does
//! not prevent a start.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use super::providers::{FILE_BYTES_MAX, FILES_MAX, ProviderFile};

/// The file: a JSON object of texts by path.
const FILE: &str = "providers.json";
/// Largest size, in bytes: each byte of a text takes at most six.
const BYTES_MAX: u64 = 6 * FILE_BYTES_MAX * FILES_MAX as u64;

/// The text of each file, by its path in the configuration.
pub(super) type LastGood = BTreeMap<String, Arc<str>>;

/// Reads the saved versions. Unreadable ones are ignored: they only replace invalid files.
pub(super) fn read(data: &Path) -> LastGood {
    let mut text = Vec::new();
    let file = File::open(data.join(FILE));
    match file.and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => LastGood::new(),
    }
}

/// Saves the last good version of each file, and forgets all other files.
pub fn save_last_good(data: &Path, files: &[ProviderFile]) -> io::Result<()> {
    let of = |file: &ProviderFile| Some((file.file.clone(), file.last_good.clone()?));
    let last_good: LastGood = files.iter().filter_map(of).collect();
    if last_good == read(data) {
        return Ok(());
    }
    // Writes to another file, syncs and renames it, so that a crash leaves the old or the new file.
    let (file, beside) = (data.join(FILE), data.join(FILE).with_extension("new"));
    let mut out =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    out.write_all(&serde_json::to_vec(&last_good)?)?;
    out.sync_all()?;
    std::fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, last_good: Option<&str>) -> ProviderFile {
        let last_good = last_good.map(Into::into);
        ProviderFile { file: name.into(), provider: None, problems: Vec::new(), last_good }
    }

    #[test]
    fn saved_versions_are_read_and_others_forgotten() {
        let data = tempfile::tempdir().unwrap();
        let keep = |files: &[ProviderFile]| save_last_good(data.path(), files).unwrap();
        assert!(read(data.path()).is_empty());
        keep(&[file("a.toml", Some("é\n\u{0}")), file("b.toml", Some("b")), file("c.toml", None)]);
        let kept =
            LastGood::from([("a.toml".into(), "é\n\u{0}".into()), ("b.toml".into(), "b".into())]);
        assert_eq!(read(data.path()), kept);
        keep(&[file("b.toml", Some("b"))]);
        assert_eq!(read(data.path()).len(), 1);
        std::fs::write(data.path().join(FILE), "{").unwrap();
        assert!(read(data.path()).is_empty());
        keep(&[file("b.toml", Some("b"))]);
        assert_eq!(read(data.path()).len(), 1);
    }
}
