//! System faults under the real binary. The library is `tests/faults/system.c`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use weir_testing::hub::TestHub;

/// The fault library, compiled once per test run.
fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (library, new) =
            (folder.join("system.so"), folder.join(format!("system-{}.so", std::process::id())));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/system.c");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .arg(&new)
            .arg(source)
            .arg("-ldl");
        assert!(cc.status().unwrap().success(), "a C compiler, as the build needs one too");
        std::fs::rename(new, &library).unwrap();
        library
    };
    BUILT.get_or_init(build).clone()
}

/// A disk and a clock with settings that the test changes.
pub(crate) struct Faults {
    control: PathBuf,
}

impl Faults {
    /// Wraps a hub so that it uses this disk and clock.
    pub(crate) fn of(hub: TestHub) -> (TestHub, Self) {
        let control = hub.folder.path().join("faults");
        let library = library();
        let hub = hub
            .env("LD_PRELOAD", library.to_str().unwrap())
            .env("WEIR_FAULTS", control.to_str().unwrap());
        (hub, Self { control })
    }

    /// Applies these faults from now on.
    pub(crate) fn does(&self, order: &str) {
        let new = self.control.with_extension("new");
        std::fs::write(&new, order).unwrap();
        std::fs::rename(new, &self.control).unwrap();
    }

    /// Limits the total size of the store's files to this many bytes.
    pub(crate) fn leaves_room(&self, bytes: u64) {
        self.does(&format!("room {bytes}"));
    }

    /// Removes all faults.
    pub(crate) fn is_well(&self) {
        std::fs::remove_file(&self.control).unwrap();
    }

    /// Number of slow syncs that have finished.
    pub(crate) fn synced(&self) -> u64 {
        self.control.with_extension("synced").metadata().map_or(0, |m| m.len())
    }
}
