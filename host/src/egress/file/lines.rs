//! A file of lines: opened when it is needed, rotated by size, synced as configured. A file that
//! another program moved away is left to it, and a new one begun.
//!
//! Blocks its thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::{FileSettings, FileSync};

/// The mode of new files: payloads may be private.
const MODE: u32 = 0o640;

/// A file that cannot take lines now. Lasts until the operator does something.
#[derive(Debug, Error)]
pub(super) enum LineFileError {
    #[error("{} cannot be opened: {cause}{}", path.display(), advice(cause))]
    Open { path: PathBuf, cause: io::Error },
    #[error("{} is not a regular file; name another path, or use kind = \"stdout\"", .0.display())]
    NotRegular(PathBuf),
    #[error("{} cannot be written: {cause}{}", path.display(), advice(cause))]
    Write { path: PathBuf, cause: io::Error },
    #[error("{} cannot be rotated: {cause}{}", path.display(), advice(cause))]
    Rotate { path: PathBuf, cause: io::Error },
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::NotFound => "; make its folder",
        ErrorKind::PermissionDenied => "; let the user that runs the hub write there",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free space on its disk",
        ErrorKind::ReadOnlyFilesystem => "; its disk is mounted read-only",
        _ => "",
    }
}

/// The file, open or not.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    max_bytes: u64,
    keep: usize,
    sync: FileSync,
    open: Option<OpenLineFile>,
}

#[derive(Debug)]
struct OpenLineFile {
    file: File,
    bytes: u64,
    inode: (u64, u64),
}

impl LineFile {
    pub(super) fn new(settings: &FileSettings) -> Self {
        let FileSettings { path, max_bytes, keep, sync, .. } = settings;
        let (path, max_bytes, keep, sync) = (path.clone(), *max_bytes, *keep, *sync);
        Self { path, max_bytes, keep, sync, open: None }
    }

    /// Appends lines, all of them or none. With no lines, only opens the file.
    pub(super) fn append(&mut self, lines: &[Vec<u8>]) -> Result<(), LineFileError> {
        let appended = self.try_append(lines);
        if appended.is_err() {
            self.open = None;
        }
        appended
    }

    fn try_append(&mut self, lines: &[Vec<u8>]) -> Result<(), LineFileError> {
        let total: usize = lines.iter().map(Vec::len).sum();
        let total = total as u64;
        self.open()?;
        let is_full = |open: &OpenLineFile| open.bytes > 0 && open.bytes + total > self.max_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            let path = || self.path.clone();
            rotate(&self.path, self.keep)
                .map_err(|cause| LineFileError::Rotate { path: path(), cause })?;
            self.open = None;
            self.open()?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let before = open.bytes;
        if let Err(cause) = open.write(lines, self.sync) {
            // A line that is only half there would spoil the next one.
            let _ = open.file.set_len(before);
            return Err(LineFileError::Write { path: self.path.clone(), cause });
        }
        open.bytes += total;
        Ok(())
    }

    /// Opens the file, unless the one at the path is open already.
    fn open(&mut self) -> Result<(), LineFileError> {
        let failed = |cause| LineFileError::Open { path: self.path.clone(), cause };
        match fs::metadata(&self.path) {
            Ok(found) if !found.is_file() => {
                return Err(LineFileError::NotRegular(self.path.clone()));
            }
            Ok(found) => {
                let inode = (found.dev(), found.ino());
                if self.open.as_ref().is_some_and(|open| open.inode == inode) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        self.open = Some(OpenLineFile::at(&self.path, self.sync).map_err(failed)?);
        Ok(())
    }
}

impl OpenLineFile {
    fn at(path: &Path, sync: FileSync) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(MODE).open(path)?;
        let found = file.metadata()?;
        let mut bytes = found.len();
        if bytes > 0 && !ends_a_line(&mut file)? {
            // The rest of a line that was interrupted.
            file.write_all(b"\n")?;
            bytes += 1;
        }
        if sync == FileSync::Always {
            sync_folder(path)?;
        }
        Ok(Self { file, bytes, inode: (found.dev(), found.ino()) })
    }

    fn write(&mut self, lines: &[Vec<u8>], sync: FileSync) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.file.write_all(&lines.concat())?;
        match sync {
            FileSync::Always => self.file.sync_data(),
            FileSync::System => Ok(()),
        }
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Makes the name of a file durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Renames `NAME` to `NAME.1`, `NAME.1` to `NAME.2` and so on, and removes the oldest.
fn rotate(path: &Path, keep: usize) -> io::Result<()> {
    let numbered = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let absent = |result: io::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    absent(fs::remove_file(numbered(keep)))?;
    for number in (1..keep).rev() {
        absent(fs::rename(numbered(number), numbered(number + 1)))?;
    }
    absent(fs::rename(path, numbered(1)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(path: &Path, max_bytes: u64, keep: usize) -> LineFile {
        let (path, timeout) = (path.to_owned(), Duration::from_secs(1));
        LineFile::new(&FileSettings { path, max_bytes, keep, sync: FileSync::Always, timeout })
    }

    fn lines(of: &[&str]) -> Vec<Vec<u8>> {
        of.iter().map(|line| format!("{line}\n").into_bytes()).collect()
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let mut out = file(&path, 10, 2);
        for line in ["one", "two", "three", "four", "five", "sixteen-bytes-li"] {
            out.append(&lines(&[line])).unwrap();
        }
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(text("out.jsonl").as_deref(), Some("sixteen-bytes-li\n"), "larger than a file");
        assert_eq!(text("out.jsonl.1").as_deref(), Some("four\nfive\n"));
        assert_eq!(text("out.jsonl.2").as_deref(), Some("three\n"));
        assert_eq!(text("out.jsonl.3"), None);
    }

    #[test]
    fn an_interrupted_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        fs::write(&path, "{\"half\":").unwrap();
        file(&path, 100, 2).append(&lines(&["whole"])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\":\nwhole\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let mut out = file(&path, 100, 2);
        out.append(&lines(&["one"])).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        out.append(&lines(&["two"])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(folder.path().join("moved")).unwrap(), "one\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| file(path, 100, 2).append(&lines(&["x"])).unwrap_err().to_string();
        assert!(said(&folder.path().join("no/out")).contains("make its folder"));
        assert!(said(folder.path()).contains("is not a regular file"));
        assert!(said(Path::new("/dev/full")).contains("is not a regular file"));
    }
}
