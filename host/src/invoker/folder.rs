//! Looks at the watched folder and reads files from it. No decisions beyond which files are none of ours.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use thiserror::Error;
use weir_core::bounds::{KIB, MODULE_BYTES_MAX};
use weir_core::name::{HandlerName, InvalidName};

use super::tracker::{HandlerStamps, PluginStamp};

/// Largest sidecar file, in bytes.
const SIDECAR_BYTES_MAX: usize = 64 * KIB;
/// Most handlers in the folder; far more than a person keeps apart.
const HANDLERS_MAX: usize = 1_000;

/// A file by this name says that a folder without handlers is no mistake.
pub(crate) const EMPTY: &str = ".empty";

/// Which folder it is: a folder that was deleted and made again is another one.
/// Device, inode, and when it was made in nanoseconds, for inodes are used again.
pub(crate) type FolderId = (u64, u64, u64);

/// What lies in the folder.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// None if there is no folder.
    pub(crate) id: Option<FolderId>,
    /// Handlers by name.
    pub(crate) handlers: BTreeMap<HandlerName, HandlerStamps>,
    /// Files that could be no handler's, by file name.
    pub(crate) odd: BTreeMap<String, FileProblem>,
    /// Whether a file says that there are to be no handlers.
    pub(crate) is_empty_on_purpose: bool,
}

/// Why a file in the folder is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum FileProblem {
    /// Its stem is no handler's name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Its name is not even text.
    #[error("the file's name is not UTF-8")]
    NotText,
    /// A link to somewhere else: whoever may write there could put handlers here.
    #[error("the file is a link that leads out of the plugins folder")]
    LinkOutside,
    /// A folder, a socket or the like, or a link to nothing.
    #[error("it is not a regular file")]
    NotAFile,
    /// Over the limit.
    #[error("the file has {0} bytes, at most {MODULE_BYTES_MAX} are allowed")]
    TooLarge(u64),
    /// Over the limit.
    #[error("its sidecar file has {0} bytes, at most {SIDECAR_BYTES_MAX} are allowed")]
    SidecarTooLarge(u64),
    /// Too many handlers.
    #[error("there are more than {HANDLERS_MAX} handlers in the folder")]
    TooMany,
}

/// Looks at the folder. A folder that is not there is an empty one; one that cannot be read is an error, and says
/// nothing about what is in it.
pub(crate) fn look(dir: &Path) -> io::Result<Snapshot> {
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
            Err(odd) => {
                snapshot.odd.insert(shown(&path), odd);
                continue;
            }
        };
        let stamps = match handler(&root, &path) {
            Ok(stamps) => stamps,
            // It is there, and reading it will say what is wrong with it: a handler whose file has become something
            // else is not a handler whose file is gone.
            Err(_) => as_it_is(&path)?,
        };
        match stamps {
            Some(stamps) if snapshot.handlers.len() < HANDLERS_MAX => {
                snapshot.handlers.insert(name, stamps);
            }
            Some(_) => {
                snapshot.odd.insert(shown(&path), FileProblem::TooMany);
            }
            None => {}
        }
    }
    Ok(snapshot)
}

fn id(folder: &Metadata) -> FolderId {
    // Not every file system knows when a folder was made.
    let made = folder.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let made = u64::try_from(made.unwrap_or_default().as_nanos()).unwrap_or_default();
    (folder.dev(), folder.ino(), made)
}

/// Editors' and copiers' own files.
fn ignored(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(100).flat_map(char::escape_debug).collect()
}

fn name_of(module: &Path) -> Result<HandlerName, FileProblem> {
    let stem = module.file_stem().and_then(OsStr::to_str).ok_or(FileProblem::NotText)?;
    Ok(HandlerName::new(stem)?)
}

/// The stamps of what is not as it should be, so that a change is noticed; none if it is gone. An error is the folder's, as
/// where it may be listed and not entered, and says nothing about what is in it.
fn as_it_is(module: &Path) -> io::Result<Option<HandlerStamps>> {
    let Some(itself) = itself(module)? else { return Ok(None) };
    let sidecar = fs::symlink_metadata(module.with_extension("toml")).ok();
    Ok(Some(HandlerStamps { module: stamp(&itself), sidecar: sidecar.as_ref().map(stamp) }))
}

/// What is at a path itself, be it a link; none if nothing is.
fn itself(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(itself) => Ok(Some(itself)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One handler's files; none if they went away meanwhile.
fn handler(root: &Path, module: &Path) -> Result<Option<HandlerStamps>, FileProblem> {
    let Some(about) = regular(root, module)? else { return Ok(None) };
    if about.len() > MODULE_BYTES_MAX as u64 {
        return Err(FileProblem::TooLarge(about.len()));
    }
    let beside = regular(root, &module.with_extension("toml"))?;
    if let Some(beside) = beside.as_ref().filter(|b| b.len() > SIDECAR_BYTES_MAX as u64) {
        return Err(FileProblem::SidecarTooLarge(beside.len()));
    }
    Ok(Some(HandlerStamps { module: stamp(&about), sidecar: beside.as_ref().map(stamp) }))
}

/// A regular file in the folder, directly or by a link within it. None if it is not there.
fn regular(root: &Path, path: &Path) -> Result<Option<Metadata>, FileProblem> {
    let Ok(itself) = itself(path) else { return Err(FileProblem::NotAFile) };
    let Some(itself) = itself else { return Ok(None) };
    if !itself.is_symlink() {
        return if itself.is_file() { Ok(Some(itself)) } else { Err(FileProblem::NotAFile) };
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

/// The content of one handler's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandlerFiles {
    pub(crate) module: Vec<u8>,
    pub(crate) sidecar: Option<String>,
}

/// What became of reading a handler's files.
#[derive(Debug)]
pub(crate) enum Read {
    /// All of them, as one state of the folder.
    Whole(HandlerFiles),
    /// They changed meanwhile, or are gone: look again.
    Changed,
    /// They are not what may be read.
    FileProblem(FileProblem),
    /// The sidecar is not text.
    SidecarNotText,
}

/// Reads a handler's files, and takes care that they did not change meanwhile.
pub(crate) fn read(dir: &Path, name: &HandlerName) -> io::Result<Read> {
    let root = dir.canonicalize()?;
    let module = root.join(format!("{name}.wasm"));
    let before = match handler(&root, &module) {
        Ok(Some(before)) => before,
        Ok(None) => return Ok(Read::Changed),
        Err(odd) => return Ok(Read::FileProblem(odd)),
    };
    let bytes = bounded(&module, MODULE_BYTES_MAX)?;
    let sidecar: Option<PathBuf> = before.sidecar.map(|_| module.with_extension("toml"));
    let sidecar = sidecar.map(|path| bounded(&path, SIDECAR_BYTES_MAX)).transpose()?;
    match handler(&root, &module) {
        Ok(Some(after)) if after == before => {}
        _ => return Ok(Read::Changed),
    }
    match sidecar.map(String::from_utf8).transpose() {
        Ok(sidecar) => Ok(Read::Whole(HandlerFiles { module: bytes, sidecar })),
        Err(_) => Ok(Read::SidecarNotText),
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
    fn only_handlers_are_seen_and_odd_ones_are_named_with_their_reason() {
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
        let snapshot = look(dir.path()).unwrap();
        assert_eq!(names(&snapshot), ["a", "b", "dangling", "folder", "link", "out"]);
        assert!(snapshot.handlers[&HandlerName::new("a").unwrap()].sidecar.is_some());
        assert_eq!(odd(dir.path(), "out"), FileProblem::LinkOutside);
        assert_eq!(odd(dir.path(), "folder"), FileProblem::NotAFile);
        assert_eq!(odd(dir.path(), "dangling"), FileProblem::NotAFile);
        assert!(matches!(snapshot.odd["Bad Name.wasm"], FileProblem::Name(_)));
        assert_eq!(snapshot.odd.len(), 1);
    }

    /// What reading a handler's files says is wrong with them.
    fn odd(dir: &Path, name: &str) -> FileProblem {
        match read(dir, &HandlerName::new(name).unwrap()).unwrap() {
            Read::FileProblem(odd) => odd,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_looked_at_again_when_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = || look(dir.path()).unwrap().handlers.into_values().next().unwrap();
        symlink("nowhere", dir.path().join("a.wasm")).unwrap();
        let dangling = stamps();
        assert_eq!(stamps(), dangling);
        fs::write(dir.path().join("nowhere"), b"x").unwrap();
        assert_ne!(stamps(), dangling);
        assert!(matches!(read(dir.path(), &HandlerName::new("a").unwrap()), Ok(Read::Whole(_))));
    }

    #[test]
    fn a_copy_of_the_same_length_and_time_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        let stamps = || look(dir.path()).unwrap().handlers.into_values().next().unwrap();
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
        assert_eq!(names(&look(dir.path()).unwrap()), ["big"]);
        assert_eq!(odd(dir.path(), "big"), FileProblem::TooLarge(length));
    }

    #[test]
    fn a_name_that_cannot_be_looked_at_is_not_a_file_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"x").unwrap();
        assert!(itself(&dir.path().join("nothing")).unwrap().is_none());
        // Below a file there is nothing to look at, which is another error than that nothing is there.
        assert!(itself(&dir.path().join("file/below")).is_err());
        assert!(as_it_is(&dir.path().join("file/below")).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_empty_and_a_new_one_is_another_one() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("plugins");
        assert_eq!(look(&dir).unwrap().id, None);
        fs::create_dir(&dir).unwrap();
        let empty = look(&dir).unwrap();
        assert!(empty.id.is_some() && !empty.is_empty_on_purpose);
        fs::write(dir.join(EMPTY), b"").unwrap();
        assert!(look(&dir).unwrap().is_empty_on_purpose);
    }

    #[test]
    fn reading_gives_module_and_sidecar() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.wasm"), b"module").unwrap();
        fs::write(dir.path().join("a.toml"), b"on = []").unwrap();
        let name = HandlerName::new("a").unwrap();
        let Read::Whole(content) = read(dir.path(), &name).unwrap() else { panic!("not whole") };
        assert_eq!(content.module, b"module");
        assert_eq!(content.sidecar.as_deref(), Some("on = []"));
        let other = HandlerName::new("b").unwrap();
        assert!(matches!(read(dir.path(), &other).unwrap(), Read::Changed));
        fs::write(dir.path().join("a.toml"), b"\xff").unwrap();
        assert!(matches!(read(dir.path(), &name).unwrap(), Read::SidecarNotText));
    }
}
