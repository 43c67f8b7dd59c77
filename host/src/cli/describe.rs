//! `weir completions` and `weir man`: the command line, described for shells and for `man`.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use super::Cli;
use super::error::CommandError;
use crate::program::output::Output;

/// Print the completions of a shell
///
/// For bash: weir completions bash > /etc/bash_completion.d/weir
#[derive(Debug, Clone, clap::Args)]
pub struct CompletionsArgs {
    pub shell: Shell,
}

/// Write the man pages of all commands into a folder
#[derive(Debug, Clone, clap::Args)]
pub struct ManArgs {
    /// The folder, which is created if needed; pages in it are replaced
    #[arg(value_name = "FOLDER")]
    pub to: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs, output: Output) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    let script = String::from_utf8_lossy(&script);
    match output.json {
        true => output.value(&json!({ "shell": args.shell.to_string(), "script": script })),
        false => output.text(script.trim_end()),
    }
    Ok(())
}

pub(super) fn man(args: &ManArgs, output: Output) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::Failed(format!("cannot write man pages to {}: {error}", args.to.display()))
    };
    fs::create_dir_all(&args.to).map_err(failed)?;
    let mut pages = Vec::new();
    let mut root = Cli::command();
    root.build();
    describe(&root, &mut pages);
    let mut names = Vec::new();
    for (name, text) in pages {
        fs::write(args.to.join(&name), text).map_err(failed)?;
        names.push(name);
    }
    match output.json {
        true => output.value(&json!({ "folder": args.to.display().to_string(), "pages": names })),
        false => output.text(&format!("{}: {} pages", args.to.display(), names.len())),
    }
    Ok(())
}

/// The page of a command and those of the commands below it, with their file names. The commands
/// are built, so that each knows its whole name.
fn describe(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = Man::new(command.clone()).title(name.to_uppercase()).render(&mut text);
    pages.push((format!("{name}.1"), text));
    for below in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        describe(below, pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_none_that_is_hidden() {
        let mut root = Cli::command();
        root.build();
        let mut pages = Vec::new();
        describe(&root, &mut pages);
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for page in ["weir.1", "weir-serve.1", "weir-dead-letters-requeue.1"] {
            assert!(names.contains(&page), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("compile-module")), "{names:?}");
        let (_, serve) = pages.iter().find(|(name, _)| name == "weir-serve.1").unwrap();
        assert!(String::from_utf8_lossy(serve).contains("development mode"));
    }
}
