//! What a command prints: results on standard output, problems on standard error, all of it harmless to a terminal.
//!
//! The only place of the command line that writes. A reader that went away ends the output, not the command.

use std::io::{self, Write};

use serde_json::Value;
use weir_core::error::chain;

use super::printable;

/// Where a command prints, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON for programs instead of text for people.
    pub(crate) json: bool,
}

impl Output {
    /// Lines for people.
    pub(crate) fn text(self, text: &str) {
        write_to(io::stdout().lock(), &printable::block(text));
    }

    /// A result as JSON, on one line so that many can be read one by one.
    pub(crate) fn value(self, value: &Value) {
        write_to(io::stdout().lock(), &printable::line(&value.to_string()));
    }

    /// A problem, for people also where results are JSON.
    pub(crate) fn problem(self, text: &str) {
        write_to(io::stderr().lock(), &printable::block(text));
    }
}

/// Prints an error and its causes on standard error, each line of it as an error.
pub(crate) fn report(error: &dyn std::error::Error) {
    for line in chain(error).lines() {
        Output { json: false }.problem(&format!("error: {line}"));
    }
}

fn write_to(mut to: impl Write, text: &str) {
    // There is nobody to tell that telling failed.
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// Rows under headings, each column as wide as its widest cell.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |text: &str| printable::line(text).into_owned();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|c| cell(c)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count());
        cells.chain(headings.get(column).map(|h| h.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let heading = std::iter::once(line(headings.to_vec()));
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    heading.chain(body).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_cannot_break_out() {
        let rows = vec![vec!["push\n".into(), "1".into()], vec!["a".into(), "22".into()]];
        assert_eq!(table(&["TYPE", "N"], &rows), "TYPE    N\npush\\n  1\na       22");
    }
}
