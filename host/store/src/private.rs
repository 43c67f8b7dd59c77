//! Files and folders that only their owner may read, whatever the umask is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::path::Path;

/// Creates a folder and its parents.
pub(crate) fn folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Opens a file, or creates it. If others may read it, such as a backup that was copied back, their
/// access is removed. SQLite gives its log and index the mode of the database, so only that one
/// needs it.
pub(crate) fn file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    close_to_others(&file, path)?;
    Ok(file)
}

#[cfg(unix)]
fn close_to_others(file: &File, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if let Err(error) = file.set_permissions(std::fs::Permissions::from_mode(0o600)) {
        // The file belongs to another user, and can be used all the same.
        tracing::warn!(file = %path.display(), %error, "others may read this file: its mode cannot be changed");
    }
    Ok(())
}
