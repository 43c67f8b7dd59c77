//! The start of the real binary: its wrapper program, its arguments and variables.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The binary that Cargo built for the tests: it lies one folder above them.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("weir")
}

/// The way in which a hub is started and restarted.
#[derive(Default, Clone)]
pub(crate) struct Launch {
    /// A program with its first arguments. It gets the hub's command line and executes it.
    pub(crate) under: Vec<String>,
    /// Adds `--dev`.
    pub(crate) development: bool,
    /// Adds `--paused`, at the first start only.
    pub(crate) paused: bool,
    /// Variables that are added to the environment.
    pub(crate) env: Vec<(String, String)>,
}

impl Launch {
    pub(crate) fn command(&self) -> Command {
        let under = self.under.iter().map(OsString::from);
        let mut words = under.chain([binary().into_os_string()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        // The environment of the person who runs the tests must not change the hub.
        command.env_remove("WEIR_ADMIN_TOKEN").env_remove("RUST_LOG").stdin(Stdio::null());
        command.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        command.args(words).envs(self.env.iter().cloned());
        command
    }
}

/// A command that runs the real binary.
pub fn weir() -> Command {
    Launch::default().command()
}
