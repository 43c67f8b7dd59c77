//! `[plugins]` and `[runs]`: the watched folder of handlers, and the limits of all runs together.

use std::path::PathBuf;
use std::time::Duration;

use weir_core::bounds::MIB;
use weir_core::module_signature::ModuleKey;

use super::context::LoadContext;
use super::server::{at_most, size_at_most};
use super::tree::Section;
use super::value::Size;
use weir_core::units::format_size;

/// Most slots: each reserves address space in the pool.
const SLOTS_MAX: usize = 1_024;
/// The memory that a 32-bit guest can address, in bytes.
const GUEST_MEMORY_BYTES_MAX: usize = 4 << 30;

/// The least memory with which anything compiles, in bytes.
const COMPILE_MEMORY_MIN: usize = 128 * MIB;

/// Most older versions of one handler: their list is read whole.
const VERSIONS_MAX: usize = 100;

/// The least space for compiled code, in bytes: a few small modules.
const CODE_BYTES_MIN: usize = MIB;

/// The settings of the watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    pub dir: PathBuf,
    /// True if a sidecar may grant permissions.
    pub sidecar_grants: bool,
    /// The keys of which one must have signed each handler. None if handlers need no signature.
    pub signers: Option<Vec<ModuleKey>>,
    /// The time without changes after which a changed file is loaded.
    pub settle: Duration,
    /// The time between two scans.
    pub rescan: Duration,
    /// The time that a handler runs after its file was removed.
    pub grace: Duration,
    /// The memory limit of a compilation, in bytes.
    pub compile_memory: usize,
    /// The processor time limit of a compilation.
    pub compile_time: Duration,
    /// The limit of compiled code of all handlers, in memory and on disk, in bytes.
    pub code_max: usize,
    /// Older versions of each handler that are kept.
    pub versions: usize,
    /// The time for which a version is kept after it last served.
    pub version_life: Duration,
}

/// The limits of all runs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSettings {
    /// Simultaneous runs.
    pub slots: usize,
    /// The highest memory limit of a handler, in bytes.
    pub memory_ceiling: usize,
}

impl RunSettings {
    /// All simultaneous runs: the slots, and half as many again that only quick handlers may use.
    /// Slow handlers cannot block those.
    #[must_use]
    pub fn places(&self) -> usize {
        self.slots + (self.slots / 2).max(1)
    }
}

pub(super) fn read(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<PluginSettings> {
    let dir = section.must::<PathBuf>("dir");
    if let Some(path) = dir.as_ref().map(|dir| context.resolve(dir)) {
        if path.exists() && !path.is_dir() {
            section.problem(
                "dir",
                format!("{} is a file; name the folder of the modules", path.display()),
            );
        } else if section.has("dir") && !path.exists() {
            let what =
                format!("{} is not there yet: no handler is loaded until it is", path.display());
            section.warning("dir", what);
        }
    }
    let grants = section.checked("grants", |word: &String| match word.as_str() {
        "sidecar" | "config" => Ok(()),
        _ => Err("must be \"sidecar\" or \"config\"".into()),
    });
    let require_signature = section.must::<bool>("require_signature");
    let keys = section.list::<ModuleKey>("keys");
    if require_signature == Some(true) && keys.as_ref().is_some_and(Vec::is_empty) {
        let what = "must have a key, because plugins.require_signature is true; \
                    `weir sign --new-key FILE` makes one";
        section.problem("keys", what);
    }
    let settle = section.must("settle");
    let rescan = section.must("rescan");
    let grace = section.must("grace");
    let compile_memory = section.checked("compile_memory", |size: &Size| {
        let enough = size.0 >= COMPILE_MEMORY_MIN;
        enough
            .then_some(())
            .ok_or_else(|| format!("must be at least {}", format_size(COMPILE_MEMORY_MIN)))
    });
    let compile_time = section.must("compile_time");
    let code_max = section.checked("code_max", |size: &Size| {
        let enough = size.0 >= CODE_BYTES_MIN;
        enough
            .then_some(())
            .ok_or_else(|| format!("must be at least {}", format_size(CODE_BYTES_MIN)))
    });
    let versions = section.checked("versions", |n| at_most(*n, VERSIONS_MAX));
    let version_life = section.must("version_life");
    section.finish();
    Some(PluginSettings {
        dir: context.resolve(&dir?),
        sidecar_grants: grants? == "sidecar",
        signers: if require_signature? { Some(keys?) } else { None },
        settle: settle?,
        rescan: rescan?,
        grace: grace?,
        compile_memory: compile_memory?.0,
        compile_time: compile_time?,
        code_max: code_max?.0,
        versions: versions?,
        version_life: version_life?,
    })
}

/// `cores` gives the default number of slots.
pub(super) fn runs(mut section: Section<'_>, cores: usize) -> Option<RunSettings> {
    let slots = if section.has("slots") {
        section.checked("slots", |n| at_most(*n, SLOTS_MAX))
    } else {
        section.maybe::<usize>("slots");
        Some((2 * cores).clamp(1, SLOTS_MAX))
    };
    let memory_ceiling =
        section.checked("memory_ceiling", |s: &Size| size_at_most(*s, GUEST_MEMORY_BYTES_MAX));
    section.finish();
    Some(RunSettings { slots: slots?, memory_ceiling: memory_ceiling?.0 })
}
