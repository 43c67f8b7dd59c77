//! Draws a measurement: a function of the measurement and the size of the terminal. Text is escaped
//! here, because senders wrote some of it.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Row, Table};

use super::measure::{Measured, NewEventRow, SourceRates, TargetRates};
use crate::program::printable;

/// Columns from which sources and targets stand side by side.
const WIDE: u16 = 120;

/// Facts about the view itself.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The URL of the hub.
    pub(super) hub: String,
    pub(super) every: Duration,
    pub(super) colours: bool,
}

impl Look {
    fn style(&self, color: Color) -> Style {
        if self.colours { Style::new().fg(color) } else { Style::new() }
    }

    /// The style of a word that is a state.
    fn state(&self, word: &str) -> Style {
        match word {
            "ok" | "processed" => self.style(Color::Green),
            "dead_letter" | "failing" | "failed" | "missing" | "unavailable" => {
                self.style(Color::Red).add_modifier(Modifier::BOLD)
            }
            "retrying" | "held" | "paused" | "unrouted" | "loading" | "degraded" => {
                self.style(Color::Yellow)
            }
            _ => Style::new(),
        }
    }

    /// The style of a number that should be zero.
    fn alarming(&self, is_zero: bool) -> Style {
        if is_zero { Style::new() } else { self.style(Color::Red) }
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &Measured, look: &Look) {
    let [head, middle, events, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Fill(3),
        Constraint::Fill(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, shown, look);
    let halves = [Constraint::Fill(1), Constraint::Fill(1)];
    let halves = if middle.width >= WIDE {
        Layout::horizontal(halves).split(middle)
    } else {
        Layout::vertical(halves).split(middle)
    };
    if let [left, right] = halves[..] {
        draw_sources(frame, left, &shown.sources, look);
        draw_targets(frame, right, &shown.targets, look);
    }
    draw_events(frame, events, &shown.events, look);
    let every = look.every.as_secs_f64();
    frame.render_widget(
        Line::from(format!(" q quits · every {every} s · {}", text(&look.hub))),
        foot,
    );
}

fn text(untrusted: &str) -> String {
    printable::line(untrusted).into_owned()
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, shown: &Measured, look: &Look) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let problem = shown.problem.as_deref().map(text).unwrap_or_default();
    let title = Line::from(vec![
        Span::styled(format!(" weir {} ", text(&shown.version)), bold),
        Span::styled(text(&shown.status), look.state(&shown.status)),
        Span::raw(format!(" · up {} ", age(shown.uptime_seconds))),
        Span::styled(problem, look.style(Color::Red)),
    ]);
    let sent: f64 = shown.targets.iter().filter_map(|target| target.sent).sum();
    let failed: f64 = shown.targets.iter().filter_map(|target| target.failed).sum();
    let refused = shown.of_sources(|source| source.refused);
    let rates = Line::from(vec![
        Span::raw(format!(
            " in {}/s   stored {}/s   ",
            number(shown.of_sources(|source| source.received)),
            number(shown.of_sources(|source| source.stored)),
        )),
        Span::styled(format!("refused {}/s", number(refused)), look.alarming(refused <= 0.0)),
        Span::raw(format!("   out {}/s   ", number(sent))),
        Span::styled(format!("failed {}/s", number(failed)), look.alarming(failed <= 0.0)),
    ]);
    let dead = shown.of_targets(|target| target.dead_letters);
    let backlog = Line::from(vec![
        Span::raw(format!(
            " waiting {}   in progress {}   ",
            shown.of_targets(|target| target.waiting),
            shown.of_targets(|target| target.processing),
        )),
        Span::styled(format!("dead letters {dead}"), look.alarming(dead == 0)),
    ]);
    frame.render_widget(ratatui::text::Text::from(vec![title, rates, backlog]), area);
}

fn draw_sources(frame: &mut Frame<'_>, area: Rect, sources: &[SourceRates], look: &Look) {
    let row = |source: &SourceRates| {
        Row::new([
            Cell::from(text(&source.name)),
            Cell::from(number(source.received)),
            Cell::from(number(source.stored)),
            Cell::from(number(source.refused)).style(look.alarming(source.refused <= 0.0)),
            Cell::from(source.last_received_seconds_ago.map_or_else(|| "-".into(), age)),
        ])
    };
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(8),
    ];
    let headings = ["SOURCE", "IN/S", "STORED/S", "REFUSED/S", "LAST"];
    list(frame, area, "sources", sources.iter().map(row), widths, headings);
}

fn draw_targets(frame: &mut Frame<'_>, area: Rect, targets: &[TargetRates], look: &Look) {
    let row = |target: &TargetRates| {
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), number);
        Row::new([
            Cell::from(text(&target.name)),
            Cell::from(text(&target.state)).style(look.state(&target.state)),
            Cell::from(rate(target.sent)),
            Cell::from(rate(target.failed)),
            Cell::from(target.waiting.to_string()),
            Cell::from(target.dead_letters.to_string())
                .style(look.alarming(target.dead_letters == 0)),
        ])
    };
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
    ];
    let headings = ["TARGET", "STATE", "SENT/S", "FAILED/S", "WAITING", "DEAD"];
    list(frame, area, "targets", targets.iter().map(row), widths, headings);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, events: &[NewEventRow], look: &Look) {
    let row = |event: &NewEventRow| {
        Row::new([
            Cell::from(time_of_day(&event.received_at.to_string())),
            Cell::from(text(&event.source)),
            Cell::from(text(&event.kind)),
            Cell::from(text(&event.status)).style(look.state(&event.status)),
            Cell::from(text(&event.id)),
        ])
    };
    let widths = [
        Constraint::Length(12),
        Constraint::Length(14),
        Constraint::Fill(1),
        Constraint::Length(11),
        Constraint::Length(30),
    ];
    let headings = ["TIME (UTC)", "SOURCE", "TYPE", "STATUS", "ID"];
    let rows = events.iter().take(visible_rows(area)).map(row);
    list(frame, area, "newest events", rows, widths, headings);
}

fn list<'a, const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    rows: impl ExactSizeIterator<Item = Row<'a>>,
    widths: [Constraint; N],
    headings: [&'static str; N],
) {
    let heading = Row::new(headings).style(Style::new().add_modifier(Modifier::BOLD));
    let (all, visible) = (rows.len(), visible_rows(area));
    let block = Block::bordered().title(match all > visible {
        true => format!(" {title}: {visible} of {all} "),
        false => format!(" {title} "),
    });
    let table = Table::new(rows.take(visible), widths).header(heading).block(block);
    frame.render_widget(table, area);
}

/// Rows between the heading and the frame of a list.
fn visible_rows(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(3))
}

/// The time of day in a time such as `2026-11-23T15:00:00.000Z`.
fn time_of_day(at: &str) -> String {
    let time = at.split('T').nth(1).unwrap_or(at);
    time.trim_end_matches('Z').to_owned()
}

/// A rate with as many digits as help.
fn number(rate: f64) -> String {
    match rate {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

/// A time in its two largest units.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m {}s", seconds % 60),
        3_600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use weir_core::time::Timestamp;

    use super::*;

    fn shown() -> Measured {
        Measured {
            status: "degraded".into(),
            version: "0.1.0".into(),
            uptime_seconds: 3_700,
            problem: None,
            sources: vec![SourceRates {
                name: "github".into(),
                received: 12.5,
                stored: 12.0,
                refused: 0.5,
                unrouted_now: 0,
                last_received_seconds_ago: Some(3),
            }],
            targets: vec![TargetRates {
                name: "destination:ops".into(),
                state: "failing".into(),
                sent: Some(4.0),
                failed: Some(1.0),
                waiting: 17,
                processing: 2,
                dead_letters: 1,
            }],
            events: vec![NewEventRow {
                id: "evt_00000000000000000000000001".into(),
                received_at: Timestamp::from_millis(1_760_000_000_009),
                source: "github".into(),
                kind: "push\u{1b}[2J".into(),
                status: "dead_letter".into(),
            }],
        }
    }

    fn drawn(width: u16, height: u16, colours: bool) -> ratatui::buffer::Buffer {
        let look =
            Look { hub: "http://127.0.0.1:8081".into(), every: Duration::from_secs(2), colours };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &shown(), &look)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &ratatui::buffer::Buffer) -> Vec<String> {
        let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(line).collect()
    }

    #[test]
    fn rates_backlog_targets_and_events_are_on_the_screen() {
        for (width, height) in [(100, 30), (160, 40)] {
            let text = lines(&drawn(width, height, true)).join("\n");
            for part in [
                "weir 0.1.0 degraded · up 1h 1m",
                "in 12/s   stored 12/s   refused 0.5/s   out 4.0/s   failed 1.0/s",
                "waiting 17   in progress 2   dead letters 1",
                "github",
                "destination:ops",
                "failing",
                "08:53:20.009",
                "evt_00000000000000000000000001",
                "q quits · every 2 s · http://127.0.0.1:8081",
            ] {
                assert!(text.contains(part), "{part} at {width}x{height}:\n{text}");
            }
        }
    }

    #[test]
    fn a_type_of_a_sender_cannot_control_the_terminal() {
        let text = lines(&drawn(120, 30, true)).join("\n");
        assert!(text.contains("push\\u001b[2J") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn without_colours_no_cell_has_one() {
        let is_plain = |buffer: &ratatui::buffer::Buffer| {
            buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
        };
        assert!(is_plain(&drawn(120, 30, false)));
        assert!(!is_plain(&drawn(120, 30, true)));
    }

    #[test]
    fn a_tiny_terminal_is_drawn_without_a_crash() {
        for (width, height) in [(1, 1), (10, 3), (20, 8)] {
            drawn(width, height, true);
        }
    }
}
