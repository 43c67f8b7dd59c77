//! The hub beside the bare machine: `cargo bench -p weir --bench load`, which is `weir bench` of
//! the optimised program. Options after `--` are passed on, as in `-- --connections 256`; the
//! measured folder is one on the disk of the build.

#![expect(clippy::unwrap_used, reason = "a program that measures, whose failures are panics")]

use std::process::Command;

fn main() {
    // Cargo adds an option of its own.
    let given = std::env::args().skip(1).filter(|option| option != "--bench");
    let status = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["bench", "--folder", env!("CARGO_TARGET_TMPDIR")])
        .args(given)
        .status()
        .unwrap();
    std::process::exit(status.code().unwrap_or(1));
}
