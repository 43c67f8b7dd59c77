//! Loads a configuration: finds the file, reads it, and returns a [`Config`] or all its problems.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use weir_core::provider::Catalog;

use super::assemble::assemble;
use super::context::LoadContext;
use super::problem::{ConfigErrors, ConfigProblem};
use super::providers::{Providers, RejectedFiles};
use super::restart::RestartSettings;
use super::tree::{Report, Section, parse};
use super::{Config, DEFAULTS, Mode, development, store};

/// The default file.
pub const FILE: &str = "weir.toml";

/// The data folder of development mode without a file.
const DATA: &str = "data";

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The files of a configuration, for the reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub file: PathBuf,
    pub mode: Mode,
    /// The file, the files that it names and the folders that it reads, present or not.
    pub files: BTreeSet<PathBuf>,
    /// The settings that need a restart, for comparison.
    pub restart: RestartSettings,
}

/// A valid configuration with its file and warnings.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// None in development mode without a file.
    pub file: Option<PathBuf>,
    pub warnings: Vec<ConfigProblem>,
}

/// Loads the given file, else [`FILE`] in the working directory. Without a file, development mode
/// with its data in `data/`.
pub fn load(path: Option<&Path>, mode: Mode) -> Result<Loaded, ConfigErrors> {
    let path = match path {
        Some(path) => path,
        None if Path::new(FILE).exists() => Path::new(FILE),
        None => return development::development(Path::new(DATA)),
    };
    let text = read_file(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let paths_read = RefCell::default();
    let context = LoadContext {
        folder,
        variable: &|name: &str| std::env::var_os(name),
        mode,
        paths_read: &paths_read,
    };
    let (mut config, warnings) = in_context(&path.display().to_string(), &text, &context)?;
    let mut files = paths_read.take();
    files.insert(path.to_owned());
    let restart = RestartSettings::of(&config);
    config.origin = Some(Origin { file: path.to_owned(), mode, files, restart });
    Ok(Loaded { config, file: Some(path.to_owned()), warnings })
}

/// The built-in providers and those of the file, or of the default folder without a file.
pub fn known_providers(path: Option<&Path>) -> Result<Providers, ConfigErrors> {
    let file = path.unwrap_or_else(|| Path::new(FILE));
    let text = match path.is_some() || file.exists() {
        true => read_file(file)?,
        false => String::new(),
    };
    let (report, paths_read) =
        (Report::new(&file.display().to_string(), &text), RefCell::default());
    let defaults_report = Report::new("defaults", DEFAULTS);
    let (tree, defaults) = (parse(&text, &report), parse(DEFAULTS, &defaults_report));
    let context = LoadContext {
        folder: file.parent().unwrap_or_else(|| Path::new("")),
        variable: &|_: &str| None,
        mode: Mode::Production,
        paths_read: &paths_read,
    };
    let mut root = Section::root(&report, Some(tree.get_ref()), Some(defaults.get_ref()));
    let place = store::read(root.section("store"), &context);
    let mut providers = Providers::new(built_in()?, tree.get_ref(), RejectedFiles::new());
    let data = place.as_ref().map(|place| place.folder.as_path());
    providers.read(root.section("providers"), data, &context);
    report.close()?;
    Ok(providers)
}

fn built_in() -> Result<Catalog, ConfigErrors> {
    Catalog::built_in()
        .map_err(|error| ConfigErrors::of_file("built-in providers", error.to_string()))
}

/// Loads a configuration from its text. `name` is the file name in errors, `folder` the base of
/// relative paths; secrets come from environment variables of the process.
pub fn load_text(
    name: &str,
    text: &str,
    folder: &Path,
    mode: Mode,
) -> Result<Loaded, ConfigErrors> {
    let variable = |name: &str| std::env::var_os(name);
    let (config, warnings) = from_text(name, text, folder, &variable, mode)?;
    Ok(Loaded { config, file: None, warnings })
}

/// The text of a configuration file.
pub(super) fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let failed = |what: String| ConfigErrors::of_file(&path.display().to_string(), what);
    let unreadable = |error: std::io::Error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => "; `weir config defaults` prints one to start with",
            ErrorKind::IsADirectory => "; name the file in it, such as weir.toml",
            ErrorKind::InvalidData => "; save it as UTF-8",
            ErrorKind::PermissionDenied => "; let the user that runs weir read it",
            _ => "",
        };
        failed(format!("cannot be read: {error}{hint}"))
    };
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    if ["yaml", "yml", "json"].contains(&end) {
        let what = "is not named as TOML; `weir config defaults` prints a file to start with";
        return Err(failed(what.into()));
    }
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(failed("is larger than 8MiB, too large for a configuration".into()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    // Some editors write a byte order mark first.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Loads a configuration from text with the given environment.
pub(super) fn from_text(
    file: &str,
    text: &str,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
    mode: Mode,
) -> Result<(Config, Vec<ConfigProblem>), ConfigErrors> {
    let paths_read = RefCell::default();
    let context = LoadContext { folder, variable, mode, paths_read: &paths_read };
    in_context(file, text, &context)
}

/// Loads the text. If changed provider files make its sources invalid, loads it again with the last
/// good versions of these files.
fn in_context(
    file: &str,
    text: &str,
    context: &LoadContext<'_>,
) -> Result<(Config, Vec<ConfigProblem>), ConfigErrors> {
    match attempt(file, text, context, RejectedFiles::new()) {
        Err(Failed { errors, responsible_files }) if !responsible_files.is_empty() => {
            attempt(file, text, context, responsible_files).map_err(|_| errors)
        }
        read => read.map_err(|failed| failed.errors),
    }
}

/// The problems, and the changed provider files that may have caused them.
struct Failed {
    errors: ConfigErrors,
    responsible_files: RejectedFiles,
}

impl From<ConfigErrors> for Failed {
    fn from(errors: ConfigErrors) -> Self {
        Self { errors, responsible_files: RejectedFiles::new() }
    }
}

fn attempt(
    file: &str,
    text: &str,
    context: &LoadContext<'_>,
    rejected: RejectedFiles,
) -> Result<(Config, Vec<ConfigProblem>), Failed> {
    let report = Report::new(file, text);
    let tree = parse(text, &report);
    if !report.is_clean() {
        // An incomplete tree would give false problems.
        return Err(report.close().err().unwrap_or_else(|| no_reason(file)).into());
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let tree = tree.get_ref();
    let mut providers = Providers::new(built_in()?, tree, rejected);
    let config = assemble(&report, tree, &mut providers, context, cores);
    let wrong = |mut errors: ConfigErrors| {
        let responsible_files = providers.responsible_files(&errors);
        errors.problems.extend(providers.problems().cloned());
        Failed { errors, responsible_files }
    };
    let warnings = report.close().map_err(wrong)?;
    config.map(|config| (config, warnings)).ok_or_else(|| no_reason(file).into())
}

/// The error of a bug: a configuration is incomplete, but no problem was noted.
fn no_reason(file: &str) -> ConfigErrors {
    ConfigErrors::of_file(
        file,
        "cannot be used, and the reason was not recorded; please report this",
    )
}
