//! `[providers]`: who can send, the operator's own provider files beside the built-in ones.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use weir_core::provider::{Catalog, Provider, ProviderError};

use super::problem::{ConfigErrors, Problem};
use super::surroundings::Surroundings;
use super::tree::Section;

/// Most provider files of the operator's own.
const FILES_MAX: usize = 256;
/// Largest provider file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Adds the operator's files to the built-in ones. A file that cannot be used is a problem of its own.
pub(super) fn read(mut section: Section<'_>, catalog: &mut Catalog, around: &Surroundings<'_>) {
    let files = section.list::<PathBuf>("files").unwrap_or_default();
    let dir = section.must::<PathBuf>("dir").map(|dir| around.resolve(&dir));
    let listed = files.iter().map(|file| around.resolve(file)).enumerate();
    let listed = listed.map(|(index, path)| (format!("files[{index}]"), path));
    let found = dir.map(|dir| in_folder(&dir, around)).unwrap_or_default();
    let named = |path: &PathBuf| files.iter().any(|file| around.resolve(file) == *path);
    let found = found.into_iter().filter(|path| !named(path)).map(|path| ("dir".to_owned(), path));
    for (count, (key, path)) in listed.chain(found).enumerate() {
        if count == FILES_MAX {
            section.problem(&key, format!("there are more than {FILES_MAX} files"));
            break;
        }
        around.reading(&path);
        for problem in add(&path, catalog) {
            section.problem_elsewhere(problem);
        }
    }
    section.finish();
}

/// The provider files of a folder, by name; none if there is no such folder.
fn in_folder(dir: &Path, around: &Surroundings<'_>) -> Vec<PathBuf> {
    around.reading(dir);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    let hidden = |path: &Path| path.file_name().is_some_and(|n| n.as_encoded_bytes()[0] == b'.');
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml") && !hidden(path));
    paths.sort();
    paths
}

fn add(path: &Path, catalog: &mut Catalog) -> Vec<Problem> {
    let file = path.display().to_string();
    let unreadable = |what| vec![Problem { file: file.clone(), line: None, path: "".into(), what }];
    match text(path) {
        Err(what) => unreadable(what),
        Ok(text) => match catalog.add(&text) {
            Ok(_) => Vec::new(),
            Err(error) => located(&file, &text, error),
        },
    }
}

/// A provider file by itself, with its vectors tried.
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

/// What is wrong with a provider file, each with its line.
fn located(file: &str, text: &str, error: ProviderError) -> Vec<Problem> {
    let problem = |line, path: String, what| Problem { file: file.into(), line, path, what };
    match error {
        ProviderError::Invalid(problems) => problems
            .into_iter()
            .map(|found| problem(line_of(text, &found.path), found.path, found.message))
            .collect(),
        ProviderError::Format { message } => {
            // The parser says the line, shows it, and ends with what is wrong.
            let line = message.split_once("line ").and_then(|(_, rest)| {
                rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
            });
            let what = message.trim_end().lines().last().unwrap_or_default().to_owned();
            vec![problem(line, String::new(), what)]
        }
    }
}

/// The line, from 1, of what stands at `path`, such as `schemes.v1.timestamp`; of the nearest that is there.
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
