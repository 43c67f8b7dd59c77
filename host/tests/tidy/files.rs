//! The files that the rules look at.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// A text of the project: its path from the top level, with `/`, and what it says.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// True if the file is built only for tests, benches or fuzzing.
    pub(crate) fn is_test_code(&self) -> bool {
        let folders = ["/tests/", "/benches/", "/fuzz/", "/sim/", "/testing/"];
        folders.iter().any(|folder| self.path.contains(folder))
            || self.path.ends_with("tests.rs")
            || self.path.contains("_tests/")
            || self.path.starts_with("examples/")
    }

    /// Its lines, numbered from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The folder that holds the workspace.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a folder").to_owned()
}

/// The text of one file.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text that people write: Rust, Markdown, TOML, WIT, SQL and scripts.
pub(crate) fn project_files() -> Vec<SourceFile> {
    let top = top();
    let mut found = Vec::new();
    for folder in [".ci", "examples", "host", "plugins", "wit"] {
        collect(&top, &top.join(folder), &mut found);
    }
    for file in ["README.md", "CHANGELOG.md", "Cargo.toml", ".clippy.toml"] {
        found.push(SourceFile { path: file.to_owned(), text: text(file) });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 300, "only {} files were found", found.len());
    found
}

fn collect(top: &Path, folder: &Path, found: &mut Vec<SourceFile>) {
    const BUILT: [&str; 6] = ["target", "node_modules", "dist", ".venv", "corpus", "artifacts"];
    const ENDINGS: [&str; 9] = ["rs", "md", "toml", "wit", "sql", "c", "js", "mjs", "py"];
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("an entry of a folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !BUILT.contains(&name.as_str()) {
                collect(top, &path, found);
            }
            continue;
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned());
        let is_script = ending.is_none() && folder.file_name() == Some(OsStr::new(".ci"));
        if is_script || ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            let relative = path.strip_prefix(top).expect("below the top level");
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            found.push(SourceFile { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
}
