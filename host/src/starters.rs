//! The starter handlers, which are part of the program: a demo, and a hub in development mode, work with nothing but the
//! binary.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

/// Every file of the starter handlers.
const FILES: [(&str, &[u8]); 5] = [
    ("github-chat.toml", include_bytes!("../../plugins/github-chat.toml")),
    ("github-chat.wasm", include_bytes!("../../plugins/github-chat.wasm")),
    ("log-everything.wasm", include_bytes!("../../plugins/log-everything.wasm")),
    ("payments.toml", include_bytes!("../../plugins/payments.toml")),
    ("payments.wasm", include_bytes!("../../plugins/payments.wasm")),
];

/// Their names, for people.
pub(crate) const NAMES: &str = "github-chat, log-everything, payments";

/// Puts them into a folder, which is made if there is none. What is there stays as it is.
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

/// True if there is a module in the folder.
pub(crate) fn has_modules(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_starters_is_part_of_the_program() {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
        let mut found: Vec<_> = fs::read_dir(committed)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, FILES.map(|(name, _)| name));
    }

    #[test]
    fn what_lies_in_the_folder_stays_as_it_is() {
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
