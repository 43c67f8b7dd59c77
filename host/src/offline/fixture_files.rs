//! The fixtures beside a module: the files `NAME.fixtures/*.json`, read within limits.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use weir_core::bounds::MIB;

/// The most fixtures of one module.
const FIXTURES_MAX: usize = 200;
/// The size of all fixtures of one module, in bytes.
const FIXTURES_BYTES_MAX: u64 = 32 * MIB as u64;

/// The ending of the folder that has a module's fixtures.
const FOLDER_ENDING: &str = "fixtures";

/// A file with a fixture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixtureFile {
    /// The name of the file, without its folder.
    pub(crate) name: String,
    /// The text; or the reason why there is none.
    pub(crate) text: Result<String, &'static str>,
}

/// Fixtures that cannot be read.
#[derive(Debug, Error)]
pub(crate) enum FixtureFilesError {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{} has more than {FIXTURES_MAX} fixtures", .0.display())]
    TooMany(PathBuf),
    #[error(
        "the fixtures in {} have more than {FIXTURES_BYTES_MAX} bytes; shorten their bodies",
        .0.display()
    )]
    TooLarge(PathBuf),
}

/// The folder that has the fixtures of a module.
pub(crate) fn fixtures_folder(module: &Path) -> PathBuf {
    module.with_extension(FOLDER_ENDING)
}

/// The paths of the fixtures of a module, by name. Empty if the folder does not exist.
pub(crate) fn fixture_paths(module: &Path) -> Result<Vec<PathBuf>, FixtureFilesError> {
    let folder = fixtures_folder(module);
    let unreadable = |cause| FixtureFilesError::Unreadable { path: folder.clone(), cause };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("json")) && !hidden {
            paths.push(path);
        }
        if paths.len() > FIXTURES_MAX {
            return Err(FixtureFilesError::TooMany(folder));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads the fixtures of a module. Links are not followed.
pub(crate) fn read_fixtures(module: &Path) -> Result<Vec<FixtureFile>, FixtureFilesError> {
    let mut left = FIXTURES_BYTES_MAX;
    let mut files = Vec::new();
    for path in fixture_paths(module)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unreadable = |cause| FixtureFilesError::Unreadable { path: path.clone(), cause };
        if !fs::symlink_metadata(&path).map_err(unreadable)?.is_file() {
            files.push(FixtureFile { name, text: Err("is not a regular file") });
            continue;
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).map_err(unreadable)?;
        file.take(left + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| FixtureFilesError::TooLarge(fixtures_folder(module)))?;
        files
            .push(FixtureFile { name, text: String::from_utf8(bytes).map_err(|_| "is not UTF-8") });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_files_of_the_folder_are_fixtures() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("orders.wasm");
        assert_eq!(read_fixtures(&module).unwrap(), []);
        let folder = fixtures_folder(&module);
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in
            [("b.json", &b"{}"[..]), ("a.json", b"\xff"), ("notes.md", b""), (".c.json", b"")]
        {
            fs::write(folder.join(name), bytes).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link.json")).unwrap();
        let file = |name: &str, text: Result<&str, &'static str>| FixtureFile {
            name: name.into(),
            text: text.map(str::to_owned),
        };
        let expected = [
            file("a.json", Err("is not UTF-8")),
            file("b.json", Ok("{}")),
            file("link.json", Err("is not a regular file")),
        ];
        assert_eq!(read_fixtures(&module).unwrap(), expected);
    }

    #[test]
    fn more_fixtures_than_the_limit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("orders.wasm");
        fs::create_dir(fixtures_folder(&module)).unwrap();
        for n in 0..=FIXTURES_MAX {
            fs::write(fixtures_folder(&module).join(format!("{n}.json")), "{}").unwrap();
        }
        assert!(matches!(read_fixtures(&module), Err(FixtureFilesError::TooMany(_))));
    }
}
