//! Lists and reads the files of the plugins folder. Decides only which files can be a handler's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::hash::BuildHasher as _;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustc_hash::FxBuildHasher;
use thiserror::Error;
use weir_core::bounds::{KIB, MODULE_BYTES_MAX};
use weir_core::error::chain;
use weir_core::module_signature::SIGNATURE_FILE_BYTES_MAX;
use weir_core::name::{HandlerName, InvalidName};

use super::tracker::{HandlerStamps, PluginStamp};
use crate::offline::{FixtureFile, fixture_paths, read_fixtures};

/// The largest sidecar file, in bytes.
const SIDECAR_BYTES_MAX: usize = 64 * KIB;
/// The most handlers in the folder.
const HANDLERS_MAX: usize = 1_000;

/// A file with this name says that the folder is to have no handlers.
pub(crate) const EMPTY: &str = ".empty";

/// Identifies a folder: device, inode, and creation time in nanoseconds, because inodes are used
/// again. A folder that was deleted and created again has another id.
pub(crate) type FolderId = (u64, u64, u64);

/// The content of the folder.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// None if the folder does not exist.
    pub(crate) id: Option<FolderId>,
    pub(crate) handlers: BTreeMap<HandlerName, HandlerStamps>,
    /// Modules that cannot be a handler's, by file name.
    pub(crate) problems: BTreeMap<String, FileProblem>,
    /// True if a file says that there are to be no handlers.
    pub(crate) is_empty_on_purpose: bool,
}

/// The reason why a file in the folder is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum FileProblem {
    #[error("{error}{}", instead(.similar.as_ref()))]
    Name {
        error: InvalidName,
        /// The name that was probably meant.
        similar: Option<HandlerName>,
    },
    #[error("the file's name is not UTF-8")]
    NotText,
    /// Its target may be writable for users who may not write to the plugins folder.
    #[error("the file is a link that leads out of the plugins folder")]
    LinkOutside,
    /// Such as a folder or a socket, or a link to nothing.
    #[error("it is not a regular file")]
    NotAFile,
    #[error("the file has {0} bytes, at most {MODULE_BYTES_MAX} are allowed")]
    TooLarge(u64),
    #[error("the sidecar file has {0} bytes, at most {SIDECAR_BYTES_MAX} are allowed")]
    SidecarTooLarge(u64),
    /// In a sentence.
    #[error("{0}")]
    Fixtures(String),
    #[error("there are more than {HANDLERS_MAX} handlers in the folder")]
    TooMany,
}

/// Lists the folder. A folder that does not exist is listed as empty. An error says nothing about
/// the content.
pub(crate) fn list(dir: &Path) -> io::Result<Snapshot> {
    let root = match dir.canonicalize() {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Snapshot::default()),
        Err(error) => return Err(error),
    };
    let about = fs::metadata(&root)?;
    let mut snapshot = Snapshot { id: Some(id(&about)), ..Snapshot::default() };
    for entry in fs::read_dir(&root)? {
        let path = entry?.path();
        snapshot.is_empty_on_purpose |= path.file_name() == Some(OsStr::new(EMPTY));
        if path.extension() != Some(OsStr::new("wasm")) || ignored(&path) {
            continue;
        }
        let name = match name_of(&path) {
            Ok(name) => name,
            Err(problem) => {
                snapshot.problems.insert(shown(&path), problem);
                continue;
            }
        };
        let stamps = match handler(&root, &path) {
            Ok(stamps) => stamps,
            // Reading it will report the problem. Its handler is not missing.
            Err(_) => stamps_of_any(&path)?,
        };
        match stamps {
            Some(stamps) if snapshot.handlers.len() < HANDLERS_MAX => {
                snapshot.handlers.insert(name, stamps);
            }
            Some(_) => {
                snapshot.problems.insert(shown(&path), FileProblem::TooMany);
            }
            None => {}
        }
    }
    Ok(snapshot)
}

fn id(folder: &Metadata) -> FolderId {
    // Not every file system has creation times.
    let made = folder.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let made = u64::try_from(made.unwrap_or_default().as_nanos()).unwrap_or_default();
    (folder.dev(), folder.ino(), made)
}

/// Temporary files of editors and copying programs.
fn ignored(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(100).flat_map(char::escape_debug).collect()
}

fn name_of(module: &Path) -> Result<HandlerName, FileProblem> {
    let stem = module.file_stem().and_then(OsStr::to_str).ok_or(FileProblem::NotText)?;
    let problem = |error| FileProblem::Name { error, similar: HandlerName::similar(stem) };
    HandlerName::new(stem).map_err(problem)
}

fn instead(similar: Option<&HandlerName>) -> String {
    similar.map(|name| format!("; rename the file to {name}.wasm")).unwrap_or_default()
}

/// The stamps of a module that cannot be read, so that a change is noticed. None if it is gone. An
/// error is one of the folder, such as one that may be listed and not entered.
fn stamps_of_any(module: &Path) -> io::Result<Option<HandlerStamps>> {
    let Some(metadata) = link_metadata(module)? else { return Ok(None) };
    let sidecar = fs::symlink_metadata(module.with_extension("toml")).ok();
    Ok(Some(HandlerStamps {
        module: stamp(&metadata),
        sidecar: sidecar.as_ref().map(stamp),
        fixtures: fixtures_stamp(module),
        signature: None,
    }))
}

/// The metadata of what is at a path, without following a link. None if nothing is there.
fn link_metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The stamps of a handler's files. None if they are gone.
fn handler(root: &Path, module: &Path) -> Result<Option<HandlerStamps>, FileProblem> {
    let Some(about) = regular(root, module)? else { return Ok(None) };
    if about.len() > MODULE_BYTES_MAX as u64 {
        return Err(FileProblem::TooLarge(about.len()));
    }
    let beside = regular(root, &module.with_extension("toml"))?;
    if let Some(beside) = beside.as_ref().filter(|b| b.len() > SIDECAR_BYTES_MAX as u64) {
        return Err(FileProblem::SidecarTooLarge(beside.len()));
    }
    // One that cannot be read counts as none.
    let signature = regular(root, &module.with_extension("sig")).ok().flatten();
    Ok(Some(HandlerStamps {
        module: stamp(&about),
        sidecar: beside.as_ref().map(stamp),
        fixtures: fixtures_stamp(module),
        signature: signature.as_ref().map(stamp),
    }))
}

/// A hash over the names and stamps of a module's fixtures. A problem with them is found when they
/// are read.
fn fixtures_stamp(module: &Path) -> u64 {
    let paths = fixture_paths(module).unwrap_or_default();
    if paths.is_empty() {
        return 0;
    }
    let stamped = paths.iter().map(|path| {
        let about = fs::symlink_metadata(path).ok();
        (path, about.as_ref().map(stamp))
    });
    FxBuildHasher.hash_one(stamped.collect::<Vec<_>>())
}

/// The metadata of a regular file in the folder, or of one that a link within the folder leads to.
/// None if it is gone.
fn regular(root: &Path, path: &Path) -> Result<Option<Metadata>, FileProblem> {
    let Ok(found) = link_metadata(path) else { return Err(FileProblem::NotAFile) };
    let Some(found) = found else { return Ok(None) };
    if !found.is_symlink() {
        return if found.is_file() { Ok(Some(found)) } else { Err(FileProblem::NotAFile) };
    }
    let Ok(target) = path.canonicalize() else { return Err(FileProblem::NotAFile) };
    if !target.starts_with(root) {
        return Err(FileProblem::LinkOutside);
    }
    let about = fs::metadata(&target).ok().filter(Metadata::is_file);
    about.map(Some).ok_or(FileProblem::NotAFile)
}

fn stamp(about: &Metadata) -> PluginStamp {
    let modified = about.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    PluginStamp {
        length: about.len(),
        modified: modified.unwrap_or_default().as_nanos(),
        changed: (about.ctime(), about.ctime_nsec()),
        device: about.dev(),
        inode: about.ino(),
    }
}

/// The files of one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandlerFiles {
    pub(crate) module: Vec<u8>,
    pub(crate) sidecar: Option<String>,
    pub(crate) fixtures: Vec<FixtureFile>,
    /// The text of the signature file. One that is not text matches no signature.
    pub(crate) signature: Option<String>,
}

/// The result of reading a handler's files.
#[derive(Debug)]
pub(crate) enum FileRead {
    Complete(HandlerFiles),
    /// They have changed since, or are gone.
    Changed,
    Problem(FileProblem),
    SidecarNotText,
}

/// Reads a handler's files, and checks that they did not change meanwhile.
pub(crate) fn read(dir: &Path, name: &HandlerName) -> io::Result<FileRead> {
    let root = dir.canonicalize()?;
    let module = root.join(format!("{name}.wasm"));
    let before = match handler(&root, &module) {
        Ok(Some(before)) => before,
        Ok(None) => return Ok(FileRead::Changed),
        Err(problem) => return Ok(FileRead::Problem(problem)),
    };
    let bytes = bounded(&module, MODULE_BYTES_MAX)?;
    let sidecar: Option<PathBuf> = before.sidecar.map(|_| module.with_extension("toml"));
    let sidecar = sidecar.map(|path| bounded(&path, SIDECAR_BYTES_MAX)).transpose()?;
    let fixtures = match read_fixtures(&module) {
        Ok(fixtures) => fixtures,
        Err(error) => return Ok(FileRead::Problem(FileProblem::Fixtures(chain(&error)))),
    };
    let signature = before.signature.map(|_| module.with_extension("sig"));
    // One byte more than is valid, so that a longer file is not.
    let signature =
        signature.map(|path| bounded(&path, SIGNATURE_FILE_BYTES_MAX + 1)).transpose()?;
    let signature = signature.map(|text| String::from_utf8_lossy(&text).into_owned());
    match handler(&root, &module) {
        Ok(Some(after)) if after == before => {}
        _ => return Ok(FileRead::Changed),
    }
    match sidecar.map(String::from_utf8).transpose() {
        Ok(sidecar) => {
            let files = HandlerFiles { module: bytes, sidecar, fixtures, signature };
            Ok(FileRead::Complete(files))
        }
        Err(_) => Ok(FileRead::SidecarNotText),
    }
}

fn bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.handlers.keys().map(HandlerName::as_str).collect()
    }

    #[test]
    fn only_handlers_are_listed_and_problems_are_named() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |name: &str| fs::write(dir.path().join(name), b"x").unwrap();
        for name in [
            "a.wasm",
            "a.toml",
            "b.wasm",
            ".hidden.wasm",
            "c.wasm.tmp",
            "d.wasm~",
            "Bad Name.wasm",
            "notes.md",
        ] {
            write(name);
        }
        fs::create_dir(dir.path().join("folder.wasm")).unwrap();
        fs::write(outside.path().join("real"), b"x").unwrap();
        symlink(outside.path().join("real"), dir.path().join("out.wasm")).unwrap();
        symlink(dir.path().join("b.wasm"), dir.path().join("link.wasm")).unwrap();
        symlink("nowhere", dir.path().join("dangling.wasm")).unwrap();
        let snapshot = list(dir.path()).unwrap();
        assert_eq!(names(&snapshot), ["a", "b", "dangling", "folder", "link", "out"]);
        assert!(snapshot.handlers[&HandlerName::new("a").unwrap()].sidecar.is_some());
        assert_eq!(problem(dir.path(), "out"), FileProblem::LinkOutside);
        assert_eq!(problem(dir.path(), "folder"), FileProblem::NotAFile);
        assert_eq!(problem(dir.path(), "dangling"), FileProblem::NotAFile);
        let said = snapshot.problems["Bad Name.wasm"].to_string();
        assert!(said.ends_with("; rename the file to bad-name.wasm"), "{said}");
        assert_eq!(snapshot.problems.len(), 1);
    }

    /// The problem that reading a handler's files reports.
    fn problem(dir: &Path, name: &str) -> FileProblem {
        match read(dir, &HandlerName::new(name).unwrap()).unwrap() {
            FileRead::Problem(problem) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_of_an_unreadable_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = || list(dir.path()).unwrap().handlers.into_values().next().unwrap();
        symlink("nowhere", dir.path().join("a.wasm")).unwrap();
        let dangling = stamps();
        assert_eq!(stamps(), dangling);
        fs::write(dir.path().join("nowhere"), b"x").unwrap();
        assert_ne!(stamps(), dangling);
        assert!(matches!(
            read(dir.path(), &HandlerName::new("a").unwrap()),
            Ok(FileRead::Complete(_))
        ));
    }

    #[test]
    fn a_copy_of_the_same_length_and_time_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        let stamps = || list(dir.path()).unwrap().handlers.into_values().next().unwrap();
        fs::write(&path, b"one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let one = stamps();
        // In place, as `cp -p` does: the inode stays too.
        while stamps() == one {
            fs::write(&path, b"two").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let two = stamps();
        assert_eq!(
            (two.module.length, two.module.modified, two.module.inode),
            (one.module.length, one.module.modified, one.module.inode)
        );
    }

    #[test]
    fn a_file_over_the_limit_is_refused_unread() {
        let dir = tempfile::tempdir().unwrap();
        let length = MODULE_BYTES_MAX as u64 + 1;
        File::create(dir.path().join("big.wasm")).unwrap().set_len(length).unwrap();
        assert_eq!(names(&list(dir.path()).unwrap()), ["big"]);
        assert_eq!(problem(dir.path(), "big"), FileProblem::TooLarge(length));
    }

    #[test]
    fn a_file_without_metadata_is_not_reported_as_gone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"x").unwrap();
        assert!(link_metadata(&dir.path().join("nothing")).unwrap().is_none());
        // A path below a file is another error than a path to nothing.
        assert!(link_metadata(&dir.path().join("file/below")).is_err());
        assert!(stamps_of_any(&dir.path().join("file/below")).is_err());
    }

    #[test]
    fn a_folder_that_does_not_exist_is_listed_as_empty() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("plugins");
        assert_eq!(list(&dir).unwrap().id, None);
        fs::create_dir(&dir).unwrap();
        let empty = list(&dir).unwrap();
        assert!(empty.id.is_some() && !empty.is_empty_on_purpose);
        fs::write(dir.join(EMPTY), b"").unwrap();
        assert!(list(&dir).unwrap().is_empty_on_purpose);
    }

    #[test]
    fn reading_gives_module_and_sidecar() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.wasm"), b"module").unwrap();
        fs::write(dir.path().join("a.toml"), b"on = []").unwrap();
        let name = HandlerName::new("a").unwrap();
        let FileRead::Complete(content) = read(dir.path(), &name).unwrap() else {
            panic!("not complete")
        };
        assert_eq!(content.module, b"module");
        assert_eq!(content.sidecar.as_deref(), Some("on = []"));
        let other = HandlerName::new("b").unwrap();
        assert!(matches!(read(dir.path(), &other).unwrap(), FileRead::Changed));
        fs::write(dir.path().join("a.toml"), b"\xff").unwrap();
        assert!(matches!(read(dir.path(), &name).unwrap(), FileRead::SidecarNotText));
    }
}
