//! The file of a source's secret: read, or written with mode 0600. What it contains is never
//! printed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use weir_core::verify::Secret;

use crate::cli::error::CommandError;

/// Largest secret that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The secret in a file. None if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Secret>, CommandError> {
    let failed = |what: String| CommandError::Failed(format!("{}: {what}", path.display()));
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
        Ok(about) if about.len() > SECRET_BYTES_MAX => {
            return Err(failed("is too large for a secret".into()));
        }
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    let secret = bytes.trim_ascii_end();
    match secret.is_empty() {
        true => Err(failed("is empty; remove it, or write the secret into it".into())),
        false => Ok(Some(Secret::new(secret))),
    }
}

/// A new file beside the place of the secret, made before a provider is asked for one: a secret
/// that cannot be kept must not be made.
#[derive(Debug)]
pub(super) struct NewSecretFile {
    path: PathBuf,
    draft: PathBuf,
    file: fs::File,
}

impl NewSecretFile {
    /// Makes the folder and an empty file.
    pub(super) fn create(path: &Path) -> Result<Self, CommandError> {
        let failed = |error: io::Error| {
            CommandError::Failed(format!("{}: cannot be written: {error}", path.display()))
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        Ok(Self { path: path.to_owned(), draft, file })
    }

    /// Writes the secret and puts the file in its place.
    pub(super) fn keep(mut self, secret: &Secret) -> Result<(), CommandError> {
        let written = self
            .file
            .write_all(secret.expose())
            .and_then(|()| self.file.write_all(b"\n"))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.draft, &self.path));
        written.map_err(|error| {
            CommandError::Failed(format!("{}: cannot be written: {error}", self.path.display()))
        })
    }
}

impl Drop for NewSecretFile {
    fn drop(&mut self) {
        // It is gone if the secret was kept.
        let _gone = fs::remove_file(&self.draft);
    }
}
