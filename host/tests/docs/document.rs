//! A document: its text, its fenced blocks, and the parts of it that are generated.

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A Markdown file of the repository.
pub(crate) struct Document {
    /// Relative to the top of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block.
pub(crate) struct Block {
    /// Number of its first line in the document, from 1.
    pub(crate) line: usize,
    /// The first word after the fence.
    pub(crate) language: String,
    /// The words after the language: a file's name, or why a block of commands does not run.
    pub(crate) note: String,
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { path: path.to_owned(), text }
    }

    /// Every Markdown file that is a part of the repository.
    pub(crate) fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        find(&root(), &mut paths);
        paths.sort();
        let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
        paths.iter().map(|path| Self::read(&relative(path))).collect()
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        for (index, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), open) {
                (Some(info), false) => {
                    let (language, note) = info.split_once(' ').unwrap_or((info, ""));
                    let (language, note) = (language.to_owned(), note.trim().to_owned());
                    blocks.push(Block { line: index + 2, language, note, text: String::new() });
                    open = true;
                }
                (Some(_), true) => open = false,
                (None, true) => {
                    let block = blocks.last_mut().unwrap();
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, false) => {}
            }
        }
        assert!(!open, "{}: a block is not closed", self.path);
        blocks
    }

    /// The lines outside of fenced blocks, with their numbers from 1.
    pub(crate) fn prose(&self) -> Vec<(usize, &str)> {
        let mut open = false;
        let lines = self.text.lines().enumerate().filter(|(_, line)| {
            let fence = line.starts_with("```");
            open ^= fence;
            !open && !fence
        });
        lines.map(|(index, line)| (index + 1, line)).collect()
    }

    /// Fails if the part of the document between the markers of this name is not this text. With
    /// `WEIR_UPDATE_DOCS` in the environment, writes it instead.
    pub(crate) fn assert_generated(&self, name: &str, wanted: &str) {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let missing = || panic!("{} has no `{}` … `{end}`", self.path, begin.trim_end());
        let (before, rest) = self.text.split_once(&begin).unwrap_or_else(missing);
        let (current, after) = rest.split_once(&end).unwrap_or_else(missing);
        let wanted = format!("\n{}\n\n", wanted.trim());
        if current == wanted {
            return;
        }
        if std::env::var_os("WEIR_UPDATE_DOCS").is_some() {
            let text = format!("{before}{begin}{wanted}{end}{after}");
            fs::write(root().join(&self.path), text).unwrap();
            eprintln!("{}: wrote {name}", self.path);
            return;
        }
        let changed = current.lines().zip(wanted.lines()).find(|(old, new)| old != new);
        panic!(
            "{}: {name} is out of date: run `WEIR_UPDATE_DOCS=1 cargo test -p weir --test docs`; \
             first difference: {:?}",
            self.path,
            changed.unwrap_or(("", "")),
        );
    }
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let foreign = ["target", "node_modules", "data", "generated"].contains(&name.as_str());
            if !foreign && !name.starts_with('.') {
                find(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}
