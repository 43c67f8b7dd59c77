//! The `file` kind: a file of JSON lines, its rotation, and when it is synced.

use std::path::PathBuf;

use weir_core::bounds::{KIB, MIB};

use super::DestinationDefaults;
use super::server::timeout;
use crate::config::context::LoadContext;
use crate::config::server::at_most;
use crate::config::tree::Section;
use crate::config::value::Size;

/// The smallest size at which a file is rotated. A smaller one would rotate at each message.
const MAX_BYTES_MIN: usize = 64 * KIB;
const MAX_BYTES_MAX: usize = 1024 * 1024 * MIB;
const MAX_BYTES: usize = 1024 * MIB;
const KEEP: usize = 10;
/// The most rotated files: each rotation renames all of them.
const KEEP_MAX: usize = 1_000;

/// A file that messages are appended to, one JSON line each.
#[derive(Debug)]
pub struct FileSettings {
    pub path: PathBuf,
    /// A file that would become larger is rotated first.
    pub max_bytes: u64,
    /// Rotated files that are kept.
    pub keep: usize,
    pub sync: FileSync,
    pub timeout: std::time::Duration,
}

/// The moment at which lines are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSync {
    /// Before a message counts as sent.
    Always,
    /// By the system, some seconds later: a crash of the machine may lose lines.
    System,
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    context: &LoadContext<'_>,
) -> Option<FileSettings> {
    let path = section.must::<PathBuf>("path").map(|path| context.resolve(&path));
    let max_bytes = match section.maybe::<Size>("max_bytes") {
        None if section.has("max_bytes") => None,
        None => Some(MAX_BYTES),
        Some(Size(bytes)) if (MAX_BYTES_MIN..=MAX_BYTES_MAX).contains(&bytes) => Some(bytes),
        Some(_) => {
            section.problem("max_bytes", "must be from \"64KiB\" to \"1024GiB\"");
            None
        }
    };
    let keep = match section.has("keep") {
        true => section.checked("keep", |n| at_most(*n, KEEP_MAX)),
        false => section.maybe("keep").or(Some(KEEP)),
    };
    let sync = match section.maybe::<String>("sync").as_deref() {
        None if section.has("sync") => None,
        None | Some("always") => Some(FileSync::Always),
        Some("system") => Some(FileSync::System),
        Some(_) => {
            section.problem("sync", "must be \"always\" or \"system\"");
            None
        }
    };
    let timeout = timeout(section, defaults);
    Some(FileSettings {
        path: path?,
        max_bytes: max_bytes? as u64,
        keep: keep?,
        sync: sync?,
        timeout: timeout?,
    })
}
