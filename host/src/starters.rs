//! The starter handlers, which are part of the program: the demo and a hub in development mode need
//! only the binary.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

const FILES: [(&str, &[u8]); 5] = [
    ("github-chat.toml", include_bytes!("../../plugins/github-chat.toml")),
    ("github-chat.wasm", include_bytes!("../../plugins/github-chat.wasm")),
    ("log-everything.wasm", include_bytes!("../../plugins/log-everything.wasm")),
    ("payments.toml", include_bytes!("../../plugins/payments.toml")),
    ("payments.wasm", include_bytes!("../../plugins/payments.wasm")),
];

pub(crate) const NAMES: &str = "github-chat, log-everything, payments";

/// Writes the starters into a folder, which is created if needed. Existing files are not changed.
pub(crate) fn put(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in FILES {
        match OpenOptions::new().write(true).create_new(true).open(folder.join(name)) {
            Ok(mut file) => file.write_all(bytes)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The module of a starter.
pub(crate) fn module(name: &str) -> Option<&'static [u8]> {
    let file = format!("{name}.wasm");
    FILES.iter().find(|(known, _)| *known == file).map(|(_, bytes)| *bytes)
}

/// The settings beside the module of a starter, if it has some. They send to `inbox`.
pub(crate) fn sidecar(name: &str) -> Option<&'static str> {
    let file = format!("{name}.toml");
    let found = FILES.iter().find(|(known, _)| *known == file);
    found.and_then(|(_, bytes)| std::str::from_utf8(bytes).ok())
}

/// True if the folder contains a module.
pub(crate) fn has_modules(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_starters_are_part_of_the_program() {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
        let mut found: Vec<_> = fs::read_dir(committed)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, FILES.map(|(name, _)| name));
    }

    #[test]
    fn existing_file_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("payments.toml");
        fs::write(&mine, "mine").unwrap();
        assert!(!has_modules(folder.path()));
        put(folder.path()).unwrap();
        assert!(has_modules(folder.path()));
        assert_eq!(fs::read_to_string(mine).unwrap(), "mine");
        assert!(folder.path().join("payments.wasm").exists());
    }
}
