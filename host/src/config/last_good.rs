//! What the operator's provider files said when they were last right, kept in the data folder: so that one that is broken
//! while the hub is down, or in the moment before it, does not keep it down.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use super::providers::{FILE_BYTES_MAX, FILES_MAX, ProviderFile};

/// Its name: an object of texts by the path of their file.
const FILE: &str = "providers.json";
/// Largest size, in bytes: each byte of a text takes at most six there.
const BYTES_MAX: u64 = 6 * FILE_BYTES_MAX * FILES_MAX as u64;

/// What each file said, by its path as the configuration has it.
pub(super) type LastGood = BTreeMap<String, Arc<str>>;

/// What is kept in the data folder. What cannot be read is none, for it only stands in for files that are wrong.
pub(super) fn read(data: &Path) -> LastGood {
    let mut text = Vec::new();
    let file = File::open(data.join(FILE));
    match file.and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => LastGood::new(),
    }
}

/// Keeps what files say now, or said when they were last right, and forgets all others.
pub fn save_last_good(data: &Path, files: &[ProviderFile]) -> io::Result<()> {
    let of = |file: &ProviderFile| Some((file.file.clone(), file.last_good.clone()?));
    let last_good: LastGood = files.iter().filter_map(of).collect();
    if last_good == read(data) {
        return Ok(());
    }
    // A crash half way must leave the old or the new: written beside, synced, then renamed.
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
    fn what_is_kept_is_read_again_and_the_rest_forgotten() {
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
