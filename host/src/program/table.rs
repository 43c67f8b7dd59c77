//! Tables for people: cells are escaped, columns fit the terminal, and states have colours there.

use std::io::{self, IsTerminal as _};

use super::printable;

/// Between two columns.
const GAP: usize = 2;
/// Narrowest width to which a column is cut.
const NARROWEST: usize = 8;
/// Replaces the end of a cell that is cut.
const CUT: char = '…';

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";

/// The form in which a table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Columns of the terminal. `None` for a file or a pipe, where nothing is cut.
    columns: Option<usize>,
    colours: bool,
}

impl Shown {
    /// For files and pipes.
    pub(crate) const PLAIN: Self = Self { columns: None, colours: false };

    /// The form for standard output as it is now.
    pub(crate) fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::PLAIN;
        }
        let columns = crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns));
        let variable = |name| std::env::var(name).ok();
        Self {
            columns: columns.filter(|columns| *columns > 0),
            colours: wants_colours(variable("NO_COLOR"), variable("TERM")),
        }
    }
}

/// True if a terminal may get colours, by the values of `NO_COLOR` and `TERM`.
pub(crate) fn wants_colours(no_color: Option<String>, term: Option<String>) -> bool {
    no_color.is_none_or(|value| value.is_empty()) && term.as_deref() != Some("dumb")
}

/// The colour of a word that is a state, here or in any other view for terminals.
fn colour(word: &str) -> Option<&'static str> {
    match word {
        "ok" | "processed" | "ready" | "delivered" => Some(GREEN),
        "dead_letter" | "failing" | "failed" | "refused" | "missing" => Some(RED),
        "retrying" | "held" | "paused" | "unrouted" | "loading" => Some(YELLOW),
        _ => None,
    }
}

/// Rows under headings, escaped.
#[derive(Debug)]
pub(crate) struct TextTable<'a> {
    headings: &'a [&'a str],
    rows: Vec<Vec<String>>,
}

impl<'a> TextTable<'a> {
    pub(crate) fn new(headings: &'a [&'a str], rows: &[Vec<String>]) -> Self {
        let escaped = |row: &Vec<String>| {
            row.iter().map(|cell| printable::line(cell).into_owned()).collect::<Vec<_>>()
        };
        Self { headings, rows: rows.iter().map(escaped).collect() }
    }

    /// The text of the table.
    pub(crate) fn fitted(&self, shown: &Shown) -> String {
        let widths = fit(self.widths(), shown.columns);
        let heading = self.headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>();
        let bold = |_: &str| Some(BOLD);
        let mut lines = vec![line(&heading, &widths, shown.colours, bold)];
        lines.extend(self.rows.iter().map(|row| line(row, &widths, shown.colours, colour)));
        lines.join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let cells = cells.map(|cell| cell.chars().count());
            cells.chain(self.headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
        };
        (0..self.headings.len()).map(width).collect()
    }
}

/// Narrows the widest columns until the table fits. The first column is never cut: it has the id or
/// the name that the next command needs.
fn fit(mut widths: Vec<usize>, columns: Option<usize>) -> Vec<usize> {
    let Some(columns) = columns else { return widths };
    let gaps = GAP * widths.len().saturating_sub(1);
    loop {
        let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
        let widest = widths.iter_mut().skip(1).max().filter(|width| **width > NARROWEST);
        match widest {
            Some(width) if over > 0 => *width -= 1,
            _ => return widths,
        }
    }
}

fn line(
    cells: &[String],
    widths: &[usize],
    colours: bool,
    colour: impl Fn(&str) -> Option<&'static str>,
) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let shown = cut(cell, *width);
        let fill = match index + 1 == cells.len() {
            true => 0,
            false => width + GAP - shown.chars().count(),
        };
        match colour(cell).filter(|_| colours) {
            Some(colour) => line.extend([colour, &shown, PLAIN]),
            None => line.push_str(&shown),
        }
        line.extend(std::iter::repeat_n(' ', fill));
    }
    line.truncate(line.trim_end().len());
    line
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain([CUT]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let reason = "connection refused by the address 192.0.2.1 after three tries";
        vec![
            vec!["dlv_01".into(), "dead_letter".into(), reason.into()],
            vec!["dlv_02".into(), "processed".into(), String::new()],
        ]
    }

    const HEADINGS: [&str; 3] = ["ID", "STATE", "REASON"];

    #[test]
    fn a_table_on_a_terminal_is_no_wider_than_it() {
        let rows = rows();
        for columns in [40, 60, 79] {
            let shown = Shown { columns: Some(columns), colours: false };
            let text = TextTable::new(&HEADINGS, &rows).fitted(&shown);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
            assert!(text.contains("dlv_01") && text.contains('…'), "{text}");
        }
        let shown = Shown { columns: Some(200), colours: false };
        let text = TextTable::new(&HEADINGS, &rows).fitted(&shown);
        assert!(text.contains("after three tries"), "{text}");
    }

    #[test]
    fn the_first_column_is_never_cut() {
        let id = "evt_01JD3ZV9H8B6Q2M4N7P0R5T1W3".to_owned();
        let shown = Shown { columns: Some(20), colours: false };
        let row = [vec![id.clone(), "some long text that is cut".to_owned()]];
        let text = TextTable::new(&["ID", "TEXT"], &row).fitted(&shown);
        assert!(text.contains(&id), "{text}");
    }

    #[test]
    fn nothing_is_cut_and_nothing_coloured_in_a_pipe() {
        let text = TextTable::new(&HEADINGS, &rows()).fitted(&Shown::PLAIN);
        assert!(text.contains("after three tries") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn only_states_are_coloured_and_text_cannot_colour_itself() {
        let row = [vec!["a\u{1b}[31m".to_owned(), "dead_letter".to_owned()]];
        let shown = Shown { columns: Some(80), colours: true };
        let text = TextTable::new(&["ID", "STATE"], &row).fitted(&shown);
        let body = text.lines().nth(1).unwrap();
        assert_eq!(body, format!("a\\u001b[31m  {RED}dead_letter{PLAIN}"));
    }

    #[test]
    fn no_color_and_a_dumb_terminal_mean_no_colours() {
        let some = |text: &str| Some(text.to_owned());
        assert!(wants_colours(None, some("xterm")));
        assert!(wants_colours(some(""), some("xterm")), "an empty variable is as none");
        assert!(!wants_colours(some("1"), some("xterm")));
        assert!(!wants_colours(None, some("dumb")));
    }
}
