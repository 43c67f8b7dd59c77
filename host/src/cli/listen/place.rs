//! The place where a listener stopped: a small file with the cursor after the last event that was
//! acknowledged. One listener uses a file at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ListenArgs;
use crate::cli::error::CommandError;

/// Bytes of the file. It is written whole in one call, so that no end of the process leaves a part.
const FILE_BYTES: usize = 4_096;

/// The content of the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stopped {
    /// The URL of the hub.
    hub: String,
    sources: Vec<String>,
    /// None before the first answer.
    cursor: Option<String>,
}

/// The file, which is locked.
#[derive(Debug)]
pub(super) struct ListenPlace {
    path: PathBuf,
    file: File,
    stopped: Stopped,
}

impl ListenPlace {
    /// Opens the file for these flags, or makes it.
    pub(super) fn open(args: &ListenArgs, hub: &str) -> Result<Self, CommandError> {
        let mut sources: Vec<_> = args.source.iter().map(ToString::to_string).collect();
        sources.sort();
        let wanted = Stopped { hub: hub.to_owned(), sources, cursor: None };
        let path = match &args.cursor {
            Some(path) => path.clone(),
            None => usual(args, &wanted)?,
        };
        let failed = |what: String| CommandError::Failed(format!("{}: {what}", path.display()));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| failed(format!("its folder cannot be created: {error}")))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file =
            options.open(&path).map_err(|error| failed(format!("cannot be opened: {error}")))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = "another listener uses this file; give each its own with --cursor FILE";
                return Err(failed(what.to_owned()));
            }
            Err(TryLockError::Error(error)) => {
                return Err(failed(format!("cannot be locked: {error}")));
            }
        }
        let mut text = String::new();
        let read = file.by_ref().take(FILE_BYTES as u64).read_to_string(&mut text);
        read.map_err(|error| failed(format!("cannot be read: {error}")))?;
        let stopped = match text.trim() {
            "" => wanted,
            text => {
                let stopped: Stopped = serde_json::from_str(text).map_err(|_| {
                    let what = "is not the file of a listener; remove it, or give another one";
                    failed(what.to_owned())
                })?;
                if (&stopped.hub, &stopped.sources) != (&wanted.hub, &wanted.sources) {
                    let (of, sources) = (&stopped.hub, stopped.sources.join(", "));
                    let what = format!(
                        "is for `{sources}` of {of}; give another file, or remove this one"
                    );
                    return Err(failed(what));
                }
                stopped
            }
        };
        Ok(Self { path, file, stopped })
    }

    /// The cursor after the last event that was acknowledged.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.stopped.cursor.as_deref()
    }

    /// Writes a new cursor.
    pub(super) fn write(&mut self, cursor: &str) -> Result<(), CommandError> {
        if self.cursor() == Some(cursor) {
            return Ok(());
        }
        self.stopped.cursor = Some(cursor.to_owned());
        let failed = |what: &str| {
            CommandError::Failed(format!("{}: cannot be written: {what}", self.path.display()))
        };
        // Plain data always serializes.
        let text = serde_json::to_string(&self.stopped).unwrap_or_default();
        if text.len() >= FILE_BYTES {
            return Err(failed("the names are too long"));
        }
        let text = format!("{text:<width$}\n", width = FILE_BYTES - 1);
        self.file.write_all_at(text.as_bytes(), 0).map_err(|error| failed(&error.to_string()))
    }
}

/// The file for a hub, its sources and a target, in the user's folder for states.
fn usual(args: &ListenArgs, of: &Stopped) -> Result<PathBuf, CommandError> {
    let mut hash = Sha256::new();
    let target = args.forward.clone().or_else(|| {
        let file = args.handler.as_ref()?;
        Some(std::path::absolute(file).unwrap_or_else(|_| file.clone()).display().to_string())
    });
    for part in [&of.hub, &of.sources.join(","), &target.unwrap_or_default()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let name = format!("listen-{}.json", &hex::encode(hash.finalize())[..16]);
    let folder = folder(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"));
    let folder = folder.ok_or_else(|| {
        CommandError::Usage("there is no home folder for the cursor; give --cursor FILE".into())
    })?;
    Ok(folder.join("weir").join(name))
}

/// The user's folder for states, by the values of two variables.
fn folder(state: Option<std::ffi::OsString>, home: Option<std::ffi::OsString>) -> Option<PathBuf> {
    let state = state.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(|home| !home.is_empty());
    state.or_else(|| Some(Path::new(&home?).join(".local/state")))
}
