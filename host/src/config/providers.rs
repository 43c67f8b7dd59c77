//! `[providers]`: the operator's provider files besides the built-in providers.
//!
//! A file that is invalid, absent or incompatible with the sources is replaced by its last good
//! version, and affects nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use weir_core::provider::{Catalog, LoadedUserFile, Provider, ProviderError, UserProviderFile};

use super::context::LoadContext;
use super::last_good::{self, LastGood};
use super::problem::{ConfigErrors, ConfigProblem};
use super::tree::Section;

pub(super) const FILES_MAX: usize = 256;
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A provider file of the operator with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFile {
    /// Its path in the configuration, such as `providers/acme.toml`.
    pub file: String,
    /// Its provider; none if it never was valid.
    pub provider: Option<Arc<str>>,
    /// Its problems. With a problem, the last good version is used, if there is one.
    pub problems: Vec<ConfigProblem>,
    /// Its last good text, which may be the current one.
    pub last_good: Option<Arc<str>>,
}

/// All providers that sources may name.
#[derive(Debug)]
pub struct Providers {
    pub catalog: Catalog,
    /// The operator's files.
    pub files: Vec<ProviderFile>,
    /// The sources by provider.
    wanted: BTreeMap<String, BTreeSet<String>>,
    rejected: RejectedFiles,
    last_good: LastGood,
}

/// Files whose changes are not used, with the reason.
pub(super) type RejectedFiles = BTreeMap<String, ConfigProblem>;

impl Providers {
    /// The built-in providers, for the sources of a file. Changes of `rejected` files are not used.
    pub(super) fn new(catalog: Catalog, tree: &DeTable<'_>, rejected: RejectedFiles) -> Self {
        let (files, last_good) = (Vec::new(), LastGood::new());
        Self { catalog, files, wanted: wanted(tree), rejected, last_good }
    }

    /// Adds the operator's files. Their problems are kept with them. `data` is the folder of last
    /// good versions.
    pub(super) fn read(
        &mut self,
        section: Section<'_>,
        data: Option<&Path>,
        context: &LoadContext<'_>,
    ) {
        self.last_good = data.map(last_good::read).unwrap_or_default();
        let mut found = Vec::new();
        for (count, (file, place)) in places(section, context).into_iter().enumerate() {
            let path = place.display().to_string();
            if count == FILES_MAX {
                let text = Err(format!("is ignored: there are more than {FILES_MAX} files"));
                found.push(Found { file, path, text: Some(text) });
                break;
            }
            context.record_read(&place);
            found.push(Found { file, path, text: Some(text(&place)) });
        }
        let is_found = |file: &&String| found.iter().any(|found| found.file == **file);
        let gone: Vec<_> = self.last_good.keys().filter(|file| !is_found(file)).cloned().collect();
        found.extend(gone.into_iter().map(|file| Found { path: file.clone(), file, text: None }));
        let own = found.iter().map(|found| found.own(&self.last_good, &self.rejected));
        let own: Vec<_> = own.collect();
        let known = self.catalog.add_user_files(&own);
        let made = found.iter().zip(known).filter_map(|(found, known)| self.made(found, known));
        self.files = made.collect();
    }

    /// The state of a file. None if it is absent and not needed.
    fn made(&self, found: &Found, known: LoadedUserFile) -> Option<ProviderFile> {
        let LoadedUserFile { provider, is_last_good, error } = known;
        let Found { file, path, text } = found;
        let provider = provider.map(|provider| provider.name.clone());
        let problem = |what| ConfigProblem {
            file: path.clone(),
            line: None,
            column: None,
            path: "".into(),
            what,
        };
        let problems = match (text, error) {
            (None, _) => {
                let sources = self.wanted.get(&**provider.as_ref()?)?;
                let sources: Vec<_> = sources.iter().map(String::as_str).collect();
                let sources = sources.join(", ");
                let what = format!(
                    "is missing and needed by {sources}; restore it, or remove these sources"
                );
                vec![problem(what)]
            }
            (Some(Err(what)), _) => vec![problem(what.clone())],
            (Some(Ok(text)), Some(error)) => located(path, text, error),
            (Some(Ok(_)), None) => {
                let reason = |why| problem(format!("is incompatible with the sources: {why}"));
                self.rejected.get(file).map(reason).into_iter().collect()
            }
        };
        let last_good = match text {
            Some(Ok(text)) if provider.is_some() && !is_last_good => Some(text.as_str().into()),
            _ => self.last_good.get(file).cloned(),
        };
        Some(ProviderFile { file: file.clone(), provider, problems, last_good })
    }

    /// The changed files that may have made sources invalid, and have a last good version.
    pub(super) fn responsible_files(&self, errors: &ConfigErrors) -> RejectedFiles {
        let mut responsible_files = RejectedFiles::new();
        for ProviderFile { file, provider, last_good, .. } in &self.files {
            let before = self.last_good.get(file);
            let sources = provider.as_ref().and_then(|name| self.wanted.get(&**name));
            if before.is_none() || before == last_good.as_ref() {
                continue;
            }
            let is_of = |problem: &ConfigProblem, source: &String| {
                let inside = problem.path.strip_prefix("sources.");
                let inside = inside.and_then(|path| path.strip_prefix(source.as_str()));
                inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let of_its_sources =
                |problem: &&ConfigProblem| sources.into_iter().flatten().any(|s| is_of(problem, s));
            if let Some(problem) = errors.problems.iter().find(of_its_sources) {
                responsible_files.insert(file.clone(), problem.clone());
            }
        }
        responsible_files
    }

    /// The problems of all the operator's files.
    pub(super) fn problems(&self) -> impl Iterator<Item = &ConfigProblem> {
        self.files.iter().flat_map(|file| &file.problems)
    }
}

/// The providers that the sources of a file name.
fn wanted(tree: &DeTable<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted = BTreeMap::<_, BTreeSet<_>>::new();
    let sources = tree.get("sources").and_then(|sources| sources.get_ref().as_table());
    for (name, source) in sources.into_iter().flatten() {
        let provider = source.get_ref().as_table().and_then(|source| source.get("provider"));
        if let Some(provider) = provider.and_then(|provider| provider.get_ref().as_str()) {
            let name: &str = name.get_ref();
            wanted.entry(provider.to_owned()).or_default().insert(name.to_owned());
        }
    }
    wanted
}

/// A file of the operator as found.
struct Found {
    file: String,
    /// Its path for messages.
    path: String,
    /// Its text, or the reason why it cannot be read; none if it is absent.
    text: Option<Result<String, String>>,
}

impl Found {
    fn own<'a>(
        &'a self,
        last_good: &'a LastGood,
        rejected: &RejectedFiles,
    ) -> UserProviderFile<'a> {
        let text = self.text.as_ref().and_then(|text| text.as_deref().ok());
        UserProviderFile {
            text: text.filter(|_| !rejected.contains_key(&self.file)),
            last_good: last_good.get(&self.file).map(|text| &**text),
        }
    }
}

/// The operator's files: the path in the configuration and the path to read.
fn places(mut section: Section<'_>, context: &LoadContext<'_>) -> Vec<(String, PathBuf)> {
    let files = section.list::<PathBuf>("files").unwrap_or_default();
    let dir = section.must::<PathBuf>("dir");
    section.finish();
    let place = |path: PathBuf| (path.display().to_string(), context.resolve(&path));
    let mut places: Vec<_> = files.into_iter().map(place).collect();
    for path in dir.iter().flat_map(|dir| in_folder(dir, context)) {
        let (file, path) = place(path);
        if places.iter().all(|(_, known)| *known != path) {
            places.push((file, path));
        }
    }
    places
}

/// The provider files of a folder, by name.
fn in_folder(dir: &Path, context: &LoadContext<'_>) -> Vec<PathBuf> {
    let place = context.resolve(dir);
    context.record_read(&place);
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| dir.join(entry.file_name())).collect();
    let hidden = |path: &Path| path.file_name().is_some_and(|n| n.as_encoded_bytes()[0] == b'.');
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml") && !hidden(path));
    paths.sort();
    paths
}

/// A single provider file, with its vectors checked.
pub fn provider_file(path: &Path) -> Result<Provider, ConfigErrors> {
    let file = path.display().to_string();
    let text = text(path).map_err(|what| ConfigErrors::of_file(&file, what))?;
    Provider::load(&text).map_err(|error| ConfigErrors { problems: located(&file, &text, error) })
}

fn text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err("is larger than 1MiB".into());
    }
    Ok(text)
}

/// The problems of a provider file with their lines.
fn located(file: &str, text: &str, error: ProviderError) -> Vec<ConfigProblem> {
    let problem = |line, path: String, what| {
        let (file, column) = (file.into(), None);
        ConfigProblem { file, line, column, path, what }
    };
    match error {
        ProviderError::Invalid(problems) => problems
            .into_iter()
            .map(|found| problem(line_of(text, &found.path), found.path, found.message))
            .collect(),
        ProviderError::Format { message } => {
            // The parser's message has the line, its text, and the problem at the end.
            let line = message.split_once("line ").and_then(|(_, rest)| {
                rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
            });
            let what = message.trim_end().lines().last().unwrap_or_default().to_owned();
            vec![problem(line, String::new(), what)]
        }
    }
}

/// The line, from 1, of a path such as `schemes.v1.timestamp`, or of its nearest parent.
fn line_of(text: &str, path: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut at = None;
    let mut here: Option<&DeValue<'_>> = None;
    for name in path.split('.') {
        let found = match here {
            None => entry(root.get_ref(), name),
            Some(DeValue::Table(table)) => entry(table, name),
            Some(DeValue::Array(items)) => {
                let named = |item: &&Spanned<DeValue<'_>>| {
                    let table = item.get_ref().as_table();
                    table.and_then(|t| t.get("name")?.get_ref().as_str()) == Some(name)
                };
                items.iter().find(named).map(|item| (item.span().start, item.get_ref()))
            }
            Some(_) => None,
        };
        let Some((start, value)) = found else { break };
        (at, here) = (Some(start), Some(value));
    }
    at.map(|at| 1 + text[..at].bytes().filter(|b| *b == b'\n').count())
}

fn entry<'t, 'd>(table: &'t DeTable<'d>, name: &str) -> Option<(usize, &'t DeValue<'d>)> {
    let (key, value) = table.get_key_value(name)?;
    Some((key.span().start, value.get_ref()))
}
