//! The file as written: a tree of tables with the line of every key.
//!
//! A [`Section`] is read key by key. A problem is noted in the [`Report`] and reading continues, so
//! one pass finds every problem. `None` means that a problem was noted or the key is absent. A key
//! that was not read is a problem too. The meaning of values is in other files.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::Range;

use serde::de::DeserializeOwned;
use strsim::levenshtein;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::expression::byte_in_literal;
use super::hints;
use super::problem::{ConfigErrors, ConfigProblem};
use super::shown::without_values;
use super::value::Value;

/// The problems and warnings of one file.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    text: String,
    /// The first byte of each line.
    lines: Vec<usize>,
    problems: RefCell<Vec<ConfigProblem>>,
    warnings: RefCell<Vec<ConfigProblem>>,
    asked: RefCell<BTreeSet<String>>,
}

impl Report {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self {
            file: file.into(),
            text: text.into(),
            lines: std::iter::once(0).chain(breaks).collect(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    fn place(&self, at: Option<usize>, path: String, what: String) -> ConfigProblem {
        let line = at.map(|at| self.line(at));
        ConfigProblem { file: self.file.clone(), line, column: None, path, what }
    }

    /// Notes a problem at a byte of the file, with its column.
    fn problem_at(&self, at: usize, path: String, what: String) {
        let line = self.line(at);
        let begin = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(begin..at).unwrap_or("");
        let column = Some(before.chars().count() + 1);
        let problem = ConfigProblem { column, ..self.place(Some(at), path, what) };
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn problem(&self, at: Option<usize>, path: impl Into<String>, what: impl Display) {
        let problem = self.place(at, path.into(), what.to_string());
        self.problems.borrow_mut().push(problem);
    }

    fn warning(&self, at: Option<usize>, path: impl Into<String>, what: impl Display) {
        let warning = self.place(at, path.into(), what.to_string());
        self.warnings.borrow_mut().push(warning);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// The warnings, or all problems in the order of the file.
    pub(super) fn close(self) -> Result<Vec<ConfigProblem>, ConfigErrors> {
        let mut problems = self.problems.into_inner();
        if problems.is_empty() {
            return Ok(self.warnings.into_inner());
        }
        let place = |p: &ConfigProblem| (p.line.unwrap_or(usize::MAX), p.column);
        problems.sort_by_key(|p| (p.file != self.file, place(p)));
        Err(ConfigErrors { problems })
    }

    /// Every key that was read, with `*` for names of the operator.
    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// Parses a text, and notes every line that is not TOML.
pub(super) fn parse<'t>(text: &'t str, report: &Report) -> Spanned<DeTable<'t>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    // Further errors on one line usually follow from the first.
    let mut last = None;
    for error in errors {
        let at = error.span().map(|span| span.start);
        let line = at.map(|at| report.line(at));
        if line.is_none() || line != last {
            let written = line.and_then(|line| text.lines().nth(line - 1));
            let said = without_values(error.message());
            let hint = match said.contains("duplicate") {
                true => Some("it is there twice; remove one, or rename it"),
                false => written.and_then(hints::hint_for_line),
            };
            match hint {
                Some(hint) => report.problem(at, "", format!("{said}; {hint}")),
                None => report.problem(at, "", said),
            }
        }
        last = line;
    }
    tree
}

/// A table of the file with its defaults.
#[derive(Debug)]
pub(super) struct Section<'t> {
    report: &'t Report,
    path: String,
    /// The path with `*` for names of the operator.
    shape: String,
    at: Option<usize>,
    given: Option<&'t DeTable<'t>>,
    default: Option<&'t DeTable<'t>>,
    asked: BTreeSet<&'static str>,
}

/// A key in the file.
pub(super) struct KeyPlace<'t> {
    report: &'t Report,
    path: String,
    at: Option<usize>,
}

impl KeyPlace<'_> {
    pub(super) fn problem(self, what: impl Display) {
        self.report.problem(self.at, self.path, what);
    }
}

impl<'t> Section<'t> {
    pub(super) fn root(
        report: &'t Report,
        given: Option<&'t DeTable<'t>>,
        default: Option<&'t DeTable<'t>>,
    ) -> Self {
        let path = String::new();
        let shape = String::new();
        Self { report, path, shape, at: None, given, default, asked: BTreeSet::new() }
    }

    /// The path of a key in this section.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// True if the file has this section.
    pub(super) fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// True if the file has this key, without the defaults.
    pub(super) fn has(&self, key: &str) -> bool {
        self.given.is_some_and(|table| table.contains_key(key))
    }

    /// True if the file has a table under this key.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.given(key).is_some_and(|(_, value)| value.get_ref().is_table())
    }

    /// Counts a key as known although its value is not read.
    pub(super) fn mark_read(&mut self, key: &'static str) {
        self.record_asked(key);
    }

    fn record_asked(&mut self, key: &'static str) {
        if self.asked.insert(key) {
            self.report.asked.borrow_mut().insert(join(&self.shape, key));
        }
    }

    fn given(&self, key: &str) -> Option<(usize, &'t Spanned<DeValue<'t>>)> {
        let (key, value) = self.given?.get_key_value(key)?;
        Some((key.span().start, value))
    }

    /// Notes a problem with a key, at its line or the section's.
    pub(super) fn problem(&self, key: &str, what: impl Display) {
        let base = key.split(['[', '.']).next().unwrap_or(key);
        let at = self.given(base).map(|(at, _)| at).or(self.at);
        let path = if key.is_empty() { self.path.clone() } else { self.path_of(key) };
        self.report.problem(at, path, what);
    }

    /// The place of a key, for a problem that is found after the section was read.
    pub(super) fn place_of(&self, key: &str) -> KeyPlace<'t> {
        let at = self.given(key).map(|(at, _)| at).or(self.at);
        KeyPlace { report: self.report, path: self.path_of(key), at }
    }

    /// Notes a problem at a byte of the text that is the value of a key.
    pub(super) fn problem_inside(&self, key: &str, at: usize, what: &str) {
        let Some((_, value)) = self.given(key) else { return self.problem(key, what) };
        let span = value.span();
        let raw = self.report.text.get(span.clone()).unwrap_or("");
        let at = span.start + byte_in_literal(raw, at).min(raw.len());
        self.report.problem_at(at, self.path_of(key), what.into());
    }

    /// Notes a warning about a key.
    pub(super) fn warning(&self, key: &str, what: impl Display) {
        let base = key.split(['[', '.']).next().unwrap_or(key);
        let at = self.given(base).map(|(at, _)| at).or(self.at);
        self.report.warning(at, self.path_of(key), what);
    }

    /// A value from the file or the defaults.
    pub(super) fn maybe<T: Value>(&mut self, key: &'static str) -> Option<T> {
        self.record_asked(key);
        let (at, value) = match self.given(key) {
            Some((at, value)) => (Some(at), value),
            None => (None, self.default?.get(key)?),
        };
        let read = T::read(value.get_ref());
        read.map_err(|what| self.report.problem(at, self.path_of(key), what)).ok()
    }

    /// A required value.
    pub(super) fn must<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let there = self.has(key) || self.default.is_some_and(|table| table.contains_key(key));
        let value = self.maybe(key);
        if !there {
            self.problem(key, "is missing");
        }
        value
    }

    /// A required value that passes a check.
    pub(super) fn checked<T: Value>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<T> {
        let value = self.must(key)?;
        match check(&value) {
            Ok(()) => Some(value),
            Err(what) => {
                self.problem(key, what);
                None
            }
        }
    }

    /// A list of values; each invalid item is its own problem.
    pub(super) fn list<T: Value>(&mut self, key: &'static str) -> Option<Vec<T>> {
        let items = self.items(key)?;
        let read = items.iter().enumerate().filter_map(|(index, item)| {
            let path = format!("{}[{index}]", self.path_of(key));
            let noted = |what| self.report.problem(Some(item.span().start), path, what);
            T::read(item.get_ref()).map_err(noted).ok()
        });
        Some(read.collect())
    }

    /// The items of a list, not read yet.
    pub(super) fn items(&mut self, key: &'static str) -> Option<&'t DeArray<'t>> {
        self.record_asked(key);
        let (at, value) = match self.given(key) {
            Some((at, value)) => (Some(at), value),
            None => (None, self.default?.get(key)?),
        };
        let items = value.get_ref().as_array();
        if items.is_none() {
            let found = super::value::kind(value.get_ref());
            let path = self.path_of(key);
            let hint = match (key, value.get_ref()) {
                ("route", DeValue::Table(_)) => "; write [[route]], with two brackets",
                (_, DeValue::String(_)) => "; write [\"…\"]",
                _ => "",
            };
            let what = format!("expected a list in [brackets], found {found}{hint}");
            self.report.problem(at, path, what);
        }
        items
    }

    /// Texts by names of the operator.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        let entries = self.entries(key)?;
        let read = entries.into_iter().filter_map(|(name, at, value)| {
            let path = join(&self.path_of(key), name);
            let noted = |what| self.report.problem(Some(at), path, what);
            let text = String::read(value.get_ref()).map_err(noted).ok()?;
            Some((name.to_owned(), text))
        });
        Some(read.collect())
    }

    /// Values by names of the operator, with their positions.
    pub(super) fn entries(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<(&'t str, usize, &'t Spanned<DeValue<'t>>)>> {
        self.record_asked(key);
        let (at, value) = self.given(key)?;
        let Some(table) = value.get_ref().as_table() else {
            let found = super::value::kind(value.get_ref());
            let what = format!("expected a table such as {{ key = \"value\" }}, found {found}");
            self.report.problem(Some(at), self.path_of(key), what);
            return None;
        };
        let entry = |(name, value): (&'t Spanned<_>, _)| {
            let text: &'t std::borrow::Cow<'t, str> = name.get_ref();
            (&**text, name.span().start, value)
        };
        Some(table.iter().map(entry).collect())
    }

    /// A table in this section; an absent one reads as empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'t> {
        self.record_asked(key);
        let default = self.default.and_then(|table| table.get(key)?.get_ref().as_table());
        let (at, given) = match self.given(key) {
            Some((at, value)) => (Some(at), self.as_table(at, &self.path_of(key), value)),
            None => (self.at, None),
        };
        Section {
            report: self.report,
            path: self.path_of(key),
            shape: join(&self.shape, key),
            at,
            given,
            default,
            asked: BTreeSet::new(),
        }
    }

    /// The tables in this section by names of the operator.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(&'t str, Section<'t>)> {
        self.record_asked(key);
        let Some((at, value)) = self.given(key) else { return Vec::new() };
        let path = self.path_of(key);
        let Some(tables) = value.get_ref().as_table() else {
            let found = super::value::kind(value.get_ref());
            let what = format!("expected tables, found {found}; write [{path}.NAME]");
            self.report.problem(Some(at), path, what);
            return Vec::new();
        };
        let shape = format!("{}.*", join(&self.shape, key));
        let sections = tables.iter().filter_map(|(name, value)| {
            let inner = join(&path, name.get_ref());
            let Some(given) = value.get_ref().as_table() else {
                let found = super::value::kind(value.get_ref());
                let what = format!(
                    "expected a table, found {found}; keys belong in a table with a name: \
                     [{path}.NAME]"
                );
                self.report.problem(Some(name.span().start), inner, what);
                return None;
            };
            let section = self.child(inner, shape.clone(), name.span().start, given);
            Some((&**name.get_ref(), section))
        });
        sections.collect()
    }

    /// The tables of an array of tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Section<'t>> {
        let shape = format!("{}.*", join(&self.shape, key));
        let Some(items) = self.items(key) else { return Vec::new() };
        let sections = items.iter().enumerate().filter_map(|(index, value)| {
            let path = format!("{}[{index}]", self.path_of(key));
            let at = value.span().start;
            let given = self.as_table(at, &path, value)?;
            Some(self.child(path, shape.clone(), at, given))
        });
        sections.collect()
    }

    /// A table in a list, as a section.
    pub(super) fn item(
        &self,
        key: &str,
        index: usize,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Option<Section<'t>> {
        let path = format!("{}[{index}]", self.path_of(key));
        let given = value.get_ref().as_table()?;
        let shape = format!("{}.*", join(&self.shape, key));
        Some(self.child(path, shape, value.span().start, given))
    }

    /// A table under a name of the operator, as a section.
    pub(super) fn entry(
        &self,
        key: &str,
        name: &str,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Option<Section<'t>> {
        let path = join(&self.path_of(key), name);
        let given = value.get_ref().as_table()?;
        let shape = format!("{}.*", join(&self.shape, key));
        Some(self.child(path, shape, value.span().start, given))
    }

    fn child(&self, path: String, shape: String, at: usize, given: &'t DeTable<'t>) -> Section<'t> {
        let (report, asked) = (self.report, BTreeSet::new());
        Section { report, path, shape, at: Some(at), given: Some(given), default: None, asked }
    }

    fn as_table(
        &self,
        at: usize,
        path: &str,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Option<&'t DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let what = format!("expected a table, found {}", super::value::kind(value.get_ref()));
            self.report.problem(Some(at), path, what);
        }
        table
    }

    /// The keys of another format, tried one by one, so that each can be its own problem.
    pub(super) fn foreign<T: DeserializeOwned>(&mut self, keys: &[&'static str]) -> Option<T> {
        let mut all = DeTable::new();
        let mut clean = true;
        for key in keys {
            self.asked.insert(key);
            let Some((key, value)) = self.given.and_then(|table| table.get_key_value(*key)) else {
                continue;
            };
            let one = DeTable::from_iter([(key.clone(), value.clone())]);
            if let Err(error) = T::deserialize(Deserializer::from(Spanned::new(0..0, one))) {
                let at = error.span().map_or(key.span().start, |span: Range<usize>| span.start);
                let at = if at == 0 { key.span().start } else { at };
                let path = join(&join(&self.path, key.get_ref()), &inner_path(value.get_ref(), at));
                self.report.problem(Some(at), path, without_values(error.message()));
                clean = false;
            }
            all.insert(key.clone(), value.clone());
        }
        if !clean {
            return None;
        }
        let read = T::deserialize(Deserializer::from(Spanned::new(0..0, all)));
        read.map_err(|error| self.problem("", without_values(error.message()))).ok()
    }

    /// Ends the reading: every key that was not read is a problem.
    pub(super) fn finish(&self) {
        let Some(table) = self.given else { return };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if self.asked.contains(name) {
                continue;
            }
            let what = match self.asked.iter().min_by_key(|known| levenshtein(known, name)) {
                Some(near) if levenshtein(near, name) <= 2 => {
                    format!("unknown key; did you mean `{near}`?")
                }
                _ => {
                    let known: Vec<_> = self.asked.iter().copied().collect();
                    let known = known.join(", ");
                    match hints::table_of_key(name) {
                        Some(home) => {
                            format!("unknown key; it belongs in {home}. Known here: {known}")
                        }
                        None => format!("unknown key; known here: {known}"),
                    }
                }
            };
            self.report.problem(Some(key.span().start), self.path_of(name), what);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.into(),
        (path, "") => path.into(),
        (path, key) => format!("{path}.{key}"),
    }
}

/// The path, below `value`, of the value at a byte of the file.
fn inner_path(value: &DeValue<'_>, at: usize) -> String {
    if let Some(table) = value.as_table() {
        for (key, value) in table {
            if key.span().contains(&at) || value.span().contains(&at) {
                return join(key.get_ref(), &inner_path(value.get_ref(), at));
            }
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invalid_line_is_a_problem() {
        let text = "[server]\nlisten = \n[admin]\nlisten = 3..4\n";
        let report = Report::new("weir.toml", text);
        parse(text, &report);
        let problems = report.close().unwrap_err().problems;
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [Some(2), Some(4)]);
    }
}
