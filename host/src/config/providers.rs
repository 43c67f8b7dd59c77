//! `[providers]`: who can send, the operator's own provider files beside the built-in ones.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use weir_core::provider::Catalog;

use super::surroundings::Surroundings;
use super::tree::Section;

/// Most provider files of the operator's own.
const FILES_MAX: usize = 256;
/// Largest provider file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Adds the operator's files to the built-in ones. A file that cannot be used is a problem of its own.
pub(super) fn read(mut section: Section<'_>, catalog: &mut Catalog, around: &Surroundings<'_>) {
    let files = section.list::<PathBuf>("files").unwrap_or_default();
    if files.len() > FILES_MAX {
        section.problem("files", format!("lists more than {FILES_MAX} files"));
    }
    for (index, file) in files.iter().take(FILES_MAX).enumerate() {
        let path = around.resolve(file);
        let added = text(&path).and_then(|text| match catalog.add(&text) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        });
        if let Err(what) = added {
            let what = what.trim_end().replace('\n', "; ");
            section.problem(&format!("files[{index}]"), format!("{}: {what}", path.display()));
        }
    }
    section.finish();
}

fn text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err("is larger than 1MiB".into());
    }
    Ok(text)
}
