//! How the real binary is started: under what, and with which variables.

use std::process::{Command, Stdio};

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// How a hub is started, and started again.
#[derive(Default, Clone)]
pub(crate) struct Launch {
    /// A program, with its first arguments, that is given the hub's own command line and becomes the hub.
    pub(crate) under: Vec<String>,
    /// Whether it runs in development mode.
    pub(crate) development: bool,
    /// Variables that it has besides those of whoever runs the tests.
    pub(crate) env: Vec<(String, String)>,
}

impl Launch {
    pub(crate) fn command(&self) -> Command {
        let mut words = self.under.iter().cloned().chain([WEIR.to_owned()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        // Nothing that the environment of whoever runs the tests would add.
        command.env_remove("WEIR_ADMIN_TOKEN").env_remove("RUST_LOG").stdin(Stdio::null());
        command.args(words).envs(self.env.iter().cloned());
        command
    }
}

/// The real binary, as it is.
pub(crate) fn weir() -> Command {
    Launch::default().command()
}
