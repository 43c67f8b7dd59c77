//! A document: its text and its lines outside of fenced blocks.

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A Markdown file of the repository.
pub(crate) struct Document {
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { text }
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
}
