//! `weir init`: writes a first configuration with a source, a handler and a destination.
//!
//! Everything is written into a folder of its own and checked there, so that what stays passes
//! `weir check`. No file is replaced.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use serde_json::json;
use weir_core::error::chain;
use weir_core::name::SourceName;
use weir_core::provider::{Catalog, Param, Provider};
use weir_core::verify::Secret;

use super::error::CommandError;
use super::providers::find;
use crate::config::{self, ConfigErrors, Mode};
use crate::program::output::Output;
use crate::starters;

/// The destination that keeps messages in memory.
const INBOX: &str = "inbox";
/// The name of a destination with a URL.
const WEBHOOK: &str = "receiver";

/// Write a first weir.toml with a source, a handler and a destination
///
/// On a terminal it asks for what no flag gives. Otherwise it uses the defaults. No file is
/// replaced, and `weir check` passes on the result.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// The folder to write into
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
    /// The provider that sends webhooks (see `weir providers`) [default: github]
    #[arg(long, value_name = "PROVIDER")]
    pub source: Option<String>,
    /// The starter handler: github-chat, log-everything or payments [default: by the provider]
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// Where messages go: inbox, which keeps them in memory, or a URL [default: inbox]
    #[arg(long, value_name = "inbox|URL")]
    pub destination: Option<String>,
    /// A value that the provider needs besides a secret. Repeatable
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    pub params: Vec<(String, String)>,
    /// The address that senders use, for providers that sign it
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The answers from which the files are made.
struct Choices<'a> {
    provider: &'a Provider,
    source: SourceName,
    handler: String,
    destination: String,
    params: Vec<(String, String)>,
    public_url: Option<String>,
}

/// A file to write, by its path below the folder.
struct NewFile {
    path: String,
    content: Vec<u8>,
    /// Only its owner may read it.
    private: bool,
}

impl NewFile {
    fn text(path: impl Into<String>, content: String, private: bool) -> Self {
        Self { path: path.into(), content: content.into_bytes(), private }
    }
}

pub(super) fn run(args: &InitArgs, output: Output) -> Result<(), CommandError> {
    let file = args.folder.join(config::FILE);
    refuse_existing(&file)?;
    let catalog = Catalog::built_in().map_err(|error| CommandError::Failed(error.to_string()))?;
    let asks = !output.json && io::stdin().is_terminal() && io::stdout().is_terminal();
    let ask = |question: &str, default: &str| match asks {
        true => answer(question, default, output),
        false => Ok(default.to_owned()),
    };
    let name = given_or(args.source.as_ref(), || {
        ask("Which provider sends webhooks? `weir providers` lists them", "github")
    })?;
    let provider = find(&catalog, &name)?;
    let handler = given_or(args.handler.as_ref(), || {
        let question = format!("Which handler to begin with: {}?", starters::NAMES);
        ask(&question, default_handler(&name))
    })?;
    let destination = given_or(args.destination.as_ref(), || {
        ask("Where do messages go: inbox (kept in memory), or a URL?", INBOX)
    })?;
    let source =
        SourceName::configured(&name).map_err(|error| CommandError::Usage(error.to_string()))?;
    let params = params(&provider, &args.params, asks, output)?;
    let public_url = args.public_url.clone();
    let choices = Choices { provider: &provider, source, handler, destination, params, public_url };
    let files = files(&choices)?;
    for file in &files {
        refuse_existing(&args.folder.join(&file.path))?;
    }
    write_checked(&args.folder, &files)?;
    report(args, &choices, &files, output);
    Ok(())
}

fn given_or(
    given: Option<&String>,
    ask: impl FnOnce() -> Result<String, CommandError>,
) -> Result<String, CommandError> {
    given.map_or_else(ask, |given| Ok(given.clone()))
}

/// Asks a question on the terminal. An empty line means the default.
fn answer(question: &str, default: &str, output: Output) -> Result<String, CommandError> {
    let default_shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    output.text(&format!("{question}{default_shown}"));
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    let bytes = read.map_err(|error| CommandError::Failed(format!("cannot read: {error}")))?;
    match line.trim() {
        _ if bytes == 0 => Err(CommandError::Failed("no answer; nothing was written".into())),
        "" => Ok(default.to_owned()),
        answer => Ok(answer.to_owned()),
    }
}

/// The starter that does something with events of this provider.
fn default_handler(provider: &str) -> &'static str {
    match provider {
        "github" => "github-chat",
        "stripe" => "payments",
        _ => "log-everything",
    }
}

/// True for the parameter that `secrets` of a source gives.
fn is_secret(param: &Param) -> bool {
    param.name == "secret"
}

/// The values of the parameters, which are asked for if they are required and not given.
fn params(
    provider: &Provider,
    given: &[(String, String)],
    asks: bool,
    output: Output,
) -> Result<Vec<(String, String)>, CommandError> {
    let mut all = given.to_vec();
    for param in provider.params.iter().filter(|param| param.required && !is_secret(param)) {
        if all.iter().any(|(name, _)| *name == param.name) {
            continue;
        }
        let value = match asks {
            true => answer(&format!("{}: {}", param.name, param.about), "", output)?,
            false => String::new(),
        };
        if value.is_empty() {
            return Err(CommandError::Usage(format!(
                "{} needs {}: {}; give it with --param {}=VALUE",
                provider.name, param.name, param.about, param.name
            )));
        }
        all.push((param.name.clone(), value));
    }
    Ok(all)
}

/// All files, of which the first is the configuration.
fn files(choices: &Choices<'_>) -> Result<Vec<NewFile>, CommandError> {
    let Choices { provider, source, handler, destination, params, public_url } = choices;
    let module = starters::module(handler).ok_or_else(|| {
        CommandError::Usage(format!("there is no starter of that name; use {}", starters::NAMES))
    })?;
    let mut files = Vec::new();
    let mut text = String::from(
        "# `weir config defaults` prints every setting, `weir check` finds mistakes.\n\n",
    );
    if let Some(url) = public_url {
        text.push_str(&format!("[server]\npublic_url = {}\n\n", quoted(url)));
    }
    text.push_str(&format!(
        "[sources.{source}]  # POST http://127.0.0.1:8080/webhook/{source}\nprovider = {}\n",
        quoted(&provider.name)
    ));
    if !config::needs_no_secret(provider) {
        let path = format!("secrets/{source}");
        text.push_str(&format!("secrets = [{{ file = {} }}]\n", quoted(&path)));
        files.push(NewFile::text(path, new_secret(provider)?, true));
    }
    for (name, value) in params {
        if provider.params.iter().any(|param| param.name == *name && param.secret) {
            let path = format!("secrets/{source}-{name}");
            text.push_str(&format!("params.{name} = {{ file = {} }}\n", quoted(&path)));
            files.push(NewFile::text(path, format!("{value}\n"), true));
        } else {
            text.push_str(&format!("params.{name} = {}\n", quoted(value)));
        }
    }
    let target = if destination == INBOX { INBOX } else { WEBHOOK };
    text.push_str(&format!("\n[destinations.{target}]\n"));
    if destination == INBOX {
        text.push_str("kind = \"inbox\"  # keeps messages in memory, to look at\n");
    } else {
        text.push_str(&format!("kind = \"webhook\"\nurl = {}\n", quoted(destination)));
    }
    if starters::sidecar(handler).is_none() {
        text.push_str(&format!(
            "\n# The handler only logs, so a route sends the events on.\n[[route]]\n\
             on = [\"{source}:*\"]\nto = \"{target}\"\n"
        ));
    }
    files.insert(0, NewFile::text(config::FILE, text, false));
    files.push(NewFile::text(format!("plugins/{handler}.toml"), sidecar(handler, target), false));
    let path = format!("plugins/{handler}.wasm");
    files.push(NewFile { path, content: module.to_vec(), private: false });
    Ok(files)
}

/// The settings beside the module: those of the starter, which send to this destination.
fn sidecar(handler: &str, target: &str) -> String {
    let own = match starters::sidecar(handler) {
        Some(text) => text.replace(&quoted(INBOX), &quoted(target)),
        None => "# Settings of the handler. It needs no grant, because it only logs.\n".to_owned(),
    };
    let is_kept = |line: &&str| !line.contains("in development mode");
    let own: Vec<&str> = own.lines().filter(is_kept).collect();
    format!("{}\n\n[limits]\ntime = \"2s\"\n", own.join("\n").trim_end())
}

/// A fresh secret in the form of the provider, as a line.
fn new_secret(provider: &Provider) -> Result<String, CommandError> {
    let pair = provider.generate_secret(None, &SystemRandom::new());
    let pair = pair.map_err(|error| CommandError::Failed(chain(&error)))?;
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    Ok(format!("{}\n", text(&pair.verifying).trim_end()))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn refuse_existing(path: &Path) -> Result<(), CommandError> {
    match path.symlink_metadata() {
        Ok(_) => Err(CommandError::Failed(format!(
            "{} exists already; nothing was written. Use another folder, or edit the file",
            path.display()
        ))),
        Err(_) => Ok(()),
    }
}

/// Writes the files to a folder of their own, checks them, and moves them to their places.
fn write_checked(folder: &Path, files: &[NewFile]) -> Result<(), CommandError> {
    let failed = |error: io::Error| {
        CommandError::Failed(format!("cannot write to {}: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let draft = tempfile::Builder::new().prefix(".weir-init-").tempdir_in(folder);
    let draft = draft.map_err(failed)?;
    for file in files {
        write(draft.path(), file).map_err(failed)?;
    }
    let checked = config::load(Some(&draft.path().join(config::FILE)), Mode::Production);
    checked.map_err(|errors| without_draft(errors, draft.path(), folder))?;
    // The configuration last: without it the rest does nothing.
    for file in files.iter().rev() {
        let to = folder.join(&file.path);
        if let Some(parent) = to.parent() {
            make_folder(parent, file.private).map_err(failed)?;
        }
        fs::hard_link(draft.path().join(&file.path), &to).map_err(failed)?;
    }
    Ok(())
}

fn write(folder: &Path, file: &NewFile) -> io::Result<()> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        make_folder(parent, file.private)?;
    }
    let mode = if file.private { 0o600 } else { 0o644 };
    let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    out.write_all(&file.content)
}

fn make_folder(folder: &Path, private: bool) -> io::Result<()> {
    let mode = if private { 0o700 } else { 0o755 };
    DirBuilder::new().recursive(true).mode(mode).create(folder)
}

/// The problems of the draft, with the place that its files would have had.
fn without_draft(mut errors: ConfigErrors, draft: &Path, folder: &Path) -> CommandError {
    let (draft, folder) = (draft.display().to_string(), folder.display().to_string());
    for problem in &mut errors.problems {
        problem.file = problem.file.replace(&draft, &folder);
        problem.what = problem.what.replace(&draft, &folder);
    }
    errors.into()
}

fn report(args: &InitArgs, choices: &Choices<'_>, files: &[NewFile], output: Output) {
    let Choices { provider, source, handler, .. } = choices;
    let paths: Vec<_> =
        files.iter().map(|file| args.folder.join(&file.path).display().to_string()).collect();
    if output.json {
        output.value(&json!({ "written": paths, "source": source, "handler": handler }));
        return;
    }
    let mut lines: Vec<_> = paths.iter().map(|path| format!("wrote  {path}")).collect();
    if let Some(secret) = files.iter().find(|file| file.path.starts_with("secrets/")) {
        lines.push(format!(
            "\n{} has a new secret: give it to {}, or put the one that it shows you there",
            args.folder.join(&secret.path).display(),
            provider.name
        ));
    }
    let sample = provider.samples.first().map_or("TYPE", |sample| sample.name.as_str());
    let here = match args.folder == Path::new(".") {
        true => String::new(),
        false => format!("cd {} && ", args.folder.display()),
    };
    lines.push(format!(
        "\nnext:  {here}weir serve\n       weir send {source} {sample}\n       weir top"
    ));
    output.text(&lines.join("\n"));
}
