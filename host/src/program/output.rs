//! Prints results on standard output and problems on standard error, escaped so that nothing acts
//! on a terminal.
//!
//! Nothing else of the program prints. A closed pipe ends the output, not the command.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;
use weir_core::error::chain;

use super::printable;

/// The form in which a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON for programs instead of text for people.
    pub(crate) json: bool,
}

impl Output {
    /// Prints lines for people.
    pub(crate) fn text(self, text: &str) {
        write_to(io::stdout().lock(), &printable::block(text));
    }

    /// Prints a result as JSON on one line.
    pub(crate) fn value(self, value: &impl Serialize) {
        // Plain data always serializes. As a value, its keys are sorted.
        let value = serde_json::to_value(value).unwrap_or_default();
        write_to(io::stdout().lock(), &printable::line(&value.to_string()));
    }

    /// Prints an answer of the hub, as JSON or as this text.
    pub(crate) fn answer<T: Serialize>(self, answer: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            self.value(answer);
        } else {
            self.text(&text(answer));
        }
    }

    /// Prints a list: a line of JSON for each item, or a table, or this text if it is empty.
    pub(crate) fn list<T: Serialize, const N: usize>(
        self,
        items: &[T],
        empty: &str,
        headings: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) {
        if self.json {
            items.iter().for_each(|item| self.value(item));
        } else if items.is_empty() {
            self.text(empty);
        } else {
            let rows: Vec<_> = items.iter().map(|item| row(item).to_vec()).collect();
            self.text(&table(&headings, &rows));
        }
    }

    /// Prints a problem for people, also if results are JSON.
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
    // A failure to print cannot be reported either.
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// A table: rows under headings, each column as wide as its widest cell.
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

/// A cell of a table: a value, or a dash for none.
pub(crate) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_are_escaped() {
        let rows = vec![vec!["push\n".into(), "1".into()], vec!["a".into(), "22".into()]];
        assert_eq!(table(&["TYPE", "N"], &rows), "TYPE    N\npush\\n  1\na       22");
    }
}
