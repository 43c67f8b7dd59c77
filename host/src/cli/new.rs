//! `weir new`: writes the project of a handler in a language, and lists the languages.
//!
//! The project is written into a folder of its own and then renamed, so that it appears whole or
//! not at all. No file is replaced.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use weir_core::name::HandlerName;

use super::error::CommandError;
use crate::program::output::Output;
use crate::templates::{self, LANGUAGES, Language, ProjectFile, Tool};

/// Write the project of a new handler: its source, a unit test, samples and a build
///
/// `./build.sh` in it builds the handler into the folder `plugins` beside it. Everything is in the
/// program; nothing is downloaded before you build.
#[derive(Debug, Clone, clap::Args)]
pub struct NewArgs {
    /// Name of the handler: 1 to 63 of a-z, 0-9 and -
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub name: Option<String>,
    /// Language of the handler
    #[arg(
        long,
        value_name = "LANGUAGE",
        required_unless_present = "list",
        value_parser = languages()
    )]
    pub lang: Option<String>,
    /// Folder of the project [default: the name]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// List the languages, the tools that each needs, and those that are missing here
    #[arg(long, conflicts_with_all = ["name", "lang", "dir"])]
    pub list: bool,
}

fn languages() -> PossibleValuesParser {
    let values = LANGUAGES.iter().map(|language| {
        let value = clap::builder::PossibleValue::new(language.word());
        if language.alias.is_some() { value.alias(language.name) } else { value }
    });
    PossibleValuesParser::new(values)
}

pub(super) fn run(args: &NewArgs, output: Output) -> Result<(), CommandError> {
    let (Some(name), Some(lang)) = (&args.name, &args.lang) else {
        list(output);
        return Ok(());
    };
    let name = HandlerName::new(name).map_err(|error| {
        let instead = HandlerName::similar(name).map(|name| format!("; try {name}"));
        CommandError::Usage(format!("{error}{}", instead.unwrap_or_default()))
    })?;
    let language = Language::find(lang)
        .ok_or_else(|| CommandError::Usage(format!("there is no template for {lang}")))?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    refuse_used(&folder)?;
    let hub = hub_folder(&folder)?;
    let files = templates::project(language, &name, &hub);
    write_whole(&folder, &files).map_err(|error| {
        CommandError::Failed(format!("cannot write to {}: {error}", folder.display()))
    })?;
    report(language, &folder, &hub, &files, output);
    Ok(())
}

fn refuse_used(folder: &Path) -> Result<(), CommandError> {
    let refused = |what: &str| {
        Err(CommandError::Failed(format!(
            "{} {what}; nothing was written. Use another name, or another folder with --dir",
            folder.display()
        )))
    };
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => refused("exists already and is not empty"),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => refused("is not a folder"),
        Err(error) => refused(&format!("cannot be read ({error})")),
    }
}

/// The folder of this command, which is that of the hub, as the project sees it. A script quotes
/// it.
fn hub_folder(folder: &Path) -> Result<String, CommandError> {
    let below = folder.components().all(|part| matches!(part, Component::Normal(_)));
    let path = if below {
        folder.components().map(|_| "..").collect::<PathBuf>()
    } else {
        let here = env::current_dir();
        here.map_err(|error| CommandError::Failed(format!("no folder: {error}")))?
    };
    let text = path.to_str().filter(|text| !text.contains(['\'', '\n']));
    text.map(str::to_owned).ok_or_else(|| {
        CommandError::Failed(format!("{} has a name that no script can have", path.display()))
    })
}

/// Writes a project beside its place, and moves it there.
fn write_whole(folder: &Path, files: &[ProjectFile]) -> io::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let draft = tempfile::Builder::new().prefix(".weir-new-").tempdir_in(parent)?;
    let project = draft.path().join("project");
    fs::create_dir(&project)?;
    fs::set_permissions(&project, fs::Permissions::from_mode(0o755))?;
    for file in files {
        let path = project.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mode = if file.executable { 0o755 } else { 0o644 };
        let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        out.write_all(&file.content)?;
    }
    // It replaces a folder only if that is empty.
    fs::rename(project, folder)
}

/// True if the PATH has a program of this name, or the Rust compiler a target of this name.
fn is_here(program: &str) -> bool {
    if program.starts_with("wasm32-") {
        return has_rust_target(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| {
        let found = fs::metadata(folder.join(program));
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

fn has_rust_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).stderr(Stdio::null());
    let printed = rustc.output().ok();
    let folder = printed.and_then(|printed| String::from_utf8(printed.stdout).ok());
    folder.is_some_and(|folder| !folder.is_empty() && Path::new(folder.trim()).is_dir())
}

fn report(language: &Language, folder: &Path, hub: &str, files: &[ProjectFile], output: Output) {
    let plugins = format!("{hub}/plugins");
    let missing = language.missing(is_here);
    if output.json {
        let paths: Vec<_> = files.iter().map(|file| &file.path).collect();
        output.value(&json!({
            "language": language.word(), "kind": language.kind(),
            "folder": folder.display().to_string(), "files": paths, "plugins": plugins,
            "test": language.test, "build": "./build.sh", "missing": values(&missing),
        }));
        return;
    }
    let mut lines: Vec<_> =
        files.iter().map(|file| format!("wrote  {}", folder.join(&file.path).display())).collect();
    lines.push(String::new());
    for tool in &missing {
        lines.push(format!("missing here: {}; get it with: {}", tool.name(), tool.get));
    }
    lines.push(format!("next:  cd {}", folder.display()));
    lines.push(format!("       {}", language.test));
    lines.push(format!("       ./build.sh    # builds into {plugins}"));
    lines.push(format!(
        "       weir send github issues --file samples/opened.json --config {hub}/weir.toml"
    ));
    output.text(&lines.join("\n"));
}

fn values(tools: &[Tool]) -> Vec<Value> {
    tools.iter().map(|tool| json!({ "tool": tool.name(), "get": tool.get })).collect()
}

fn list(output: Output) {
    if output.json {
        for language in LANGUAGES {
            let missing = language.missing(is_here);
            output.value(&json!({
                "language": language.word(), "kind": language.kind(),
                "tools": values(language.tools), "missing": values(&missing),
            }));
        }
        return;
    }
    let names = |tools: &[Tool]| {
        let names: Vec<_> = tools.iter().map(Tool::name).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(", ") }
    };
    let row = |language: &Language| {
        let missing = language.missing(is_here);
        let cells = [language.word(), language.kind(), &names(language.tools), &names(&missing)];
        cells.map(str::to_owned).to_vec()
    };
    let rows: Vec<_> = LANGUAGES.iter().map(row).collect();
    output.table(&["LANGUAGE", "KIND", "TOOLS", "MISSING HERE"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_finds_the_folder_of_the_hub() {
        assert_eq!(hub_folder(Path::new("issues")).unwrap(), "..");
        assert_eq!(hub_folder(Path::new("handlers/issues")).unwrap(), "../..");
        assert!(hub_folder(Path::new("/srv/issues")).unwrap().starts_with('/'));
        assert!(hub_folder(Path::new("../issues")).unwrap().starts_with('/'));
    }

    #[test]
    fn project_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let used = folder.path().join("used");
        fs::create_dir(&used).unwrap();
        assert!(refuse_used(&used).is_ok() && refuse_used(&folder.path().join("new")).is_ok());
        fs::write(used.join("mine"), "x").unwrap();
        let error = refuse_used(&used).unwrap_err().to_string();
        assert!(error.contains("is not empty; nothing was written"), "{error}");
        let file = refuse_used(&used.join("mine")).unwrap_err().to_string();
        assert!(file.contains("is not a folder"), "{file}");
        let files = [ProjectFile { path: "a".into(), content: Vec::new(), executable: false }];
        assert!(write_whole(&used, &files).is_err(), "filled meanwhile");
        assert_eq!(fs::read_dir(&used).unwrap().count(), 1);
    }
}
