//! Prints results on standard output and problems on standard error, escaped so that nothing acts
//! on a terminal.
//!
//! On a terminal, tables are fitted to its width, and states have colours unless `NO_COLOR` is set.
//! Nothing else of the program prints. A closed pipe ends the output, not the command.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use weir_core::error::chain;

use super::printable;
use super::table::{Shown, TextTable};

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
            self.table(&headings, &rows);
        }
    }

    /// Prints a table for people, in the form that suits standard output.
    pub(crate) fn table(self, headings: &[&str], rows: &[Vec<String>]) {
        let shown = Shown::of_stdout();
        write_to(io::stdout().lock(), &TextTable::new(headings, rows).fitted(&shown));
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

/// True once something could not be printed, such as after `| head` has ended.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// True if nothing more can be printed. A command that prints without end stops then.
pub(crate) fn is_output_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

fn write_to(mut to: impl Write, text: &str) {
    // A failure to print cannot be reported either.
    if writeln!(to, "{text}").and_then(|()| to.flush()).is_err() {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// A table as text: rows under headings, each column as wide as its widest cell.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    TextTable::new(headings, rows).fitted(&Shown::PLAIN)
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
