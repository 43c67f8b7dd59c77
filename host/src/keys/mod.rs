//! Keys that the hub creates in the data folder, readable only by its owner, and sealing with them.

mod seal;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rand::RngExt as _;

pub use seal::Seal;

/// Reads the key in `file`, or creates one there.
pub fn load_or_create(file: &Path) -> anyhow::Result<[u8; 32]> {
    match read(file) {
        Ok(key) => key,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(file),
        Err(error) => Err(error).with_context(|| format!("cannot read the key {}", file.display())),
    }
}

fn read(file: &Path) -> std::io::Result<anyhow::Result<[u8; 32]>> {
    let mut bytes = Vec::new();
    // One byte more than a key has, to notice a longer file.
    File::open(file)?.take(33).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().or_else(|bytes: Vec<u8>| {
        let (found, file) = (bytes.len(), file.display());
        bail!("{file} has {found} bytes instead of 32; remove it to create a new key")
    }))
}

/// Writes to another file, syncs and renames it, so that a crash leaves no partial key.
fn make(file: &Path) -> anyhow::Result<[u8; 32]> {
    let key: [u8; 32] = rand::rng().random();
    let beside = file.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut out =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        out.write_all(&key)?;
        out.sync_all()?;
        std::fs::rename(&beside, file)
    };
    write().with_context(|| format!("cannot make the key {}", file.display()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_created_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compiled.key");
        let key = load_or_create(&file).unwrap();
        assert_eq!(load_or_create(&file).unwrap(), key);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_invalid_key_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compiled.key");
        std::fs::write(&file, b"short").unwrap();
        assert!(load_or_create(&file).unwrap_err().to_string().contains("5 bytes"));
        assert_eq!(std::fs::read(&file).unwrap(), b"short");
    }
}
