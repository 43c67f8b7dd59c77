//! The binary. What it does is in the library: the command line first, then `serve`.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use weir::cli::Hosting;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    weir::cli::run(Hosting { serve: weir::serve::serve, demo: weir::demo::demo })
}
