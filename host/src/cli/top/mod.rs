//! `weir top`: a live view of a hub on the terminal. `measure` asks the hub and computes rates,
//! `view` draws them.

mod measure;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use weir_core::units::parse_duration;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::program::output::Output;
use crate::program::table::wants_colours;
use measure::{HubSample, Measured, measured};
use view::{Look, draw};

/// Watch a hub live: rates, backlog, sources, targets and the newest events; q quits
#[derive(Debug, Clone, clap::Args)]
pub struct TopArgs {
    /// Time between two measurements, from 200ms to 1m; --json prints one measurement of that time
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = every)]
    pub every: Duration,
    #[command(flatten)]
    pub hub: HubArgs,
}

fn every(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(200)..=Duration::from_secs(60);
    let time = parse_duration(text).ok().filter(|time| range.contains(time));
    time.ok_or_else(|| "write a time from 200ms to 1m, such as 2s".to_owned())
}

pub(super) async fn run(args: &TopArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let first = HubSample::take(&hub).await?;
    if output.json {
        tokio::time::sleep(args.every).await;
        output.value(&measured(&first, &HubSample::take(&hub).await?));
        return Ok(());
    }
    if !io::stdout().is_terminal() {
        let what = "weir top draws on a terminal; with --json it prints one measurement";
        return Err(CommandError::Usage(what.into()));
    }
    let variable = |name| std::env::var(name).ok();
    let look = Look {
        hub: hub.base().to_owned(),
        every: args.every,
        colours: wants_colours(variable("NO_COLOR"), variable("TERM")),
    };
    let failed = |error: io::Error| CommandError::Failed(format!("the terminal: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let ended = watch(&hub, first, &look, &mut terminal).await;
    ratatui::restore();
    ended.map_err(failed)
}

/// Measures and draws until a key ends it. While the hub does not answer, the last measurement
/// stays, with the reason.
async fn watch(
    hub: &AdminClient,
    mut before: HubSample,
    look: &Look,
    terminal: &mut ratatui::DefaultTerminal,
) -> io::Result<()> {
    let mut shown = measured(&before, &before);
    loop {
        terminal.draw(|frame| draw(frame, &shown, look))?;
        if quits_within(look.every, || terminal.draw(|frame| draw(frame, &shown, look)).map(drop))?
        {
            return Ok(());
        }
        match HubSample::take(hub).await {
            Ok(now) => {
                shown = measured(&before, &now);
                before = now;
            }
            Err(error) => shown = Measured { problem: Some(error.to_string()), ..shown },
        }
    }
}

/// Waits for the next measurement. True if a key ends the view. A new size draws it again.
fn quits_within(time: Duration, mut redraw: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
    let end = Instant::now() + time;
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Key(key) if quits(key) => return Ok(true),
            Event::Resize(..) => redraw()?,
            _ => {}
        }
    }
    Ok(false)
}

/// True for q, Escape and Control-C.
fn quits(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => control,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_end_the_view() {
        let key = |code, modifiers| quits(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
    }

    #[test]
    fn the_time_between_measurements_has_limits() {
        assert_eq!(every("2s"), Ok(Duration::from_secs(2)));
        assert!(every("1ms").is_err() && every("1h").is_err() && every("soon").is_err());
    }
}
