//! `weir erase`: erases the contents of events, by id or by business key.

use weir_core::business_key::BusinessKey;
use weir_core::id::EventId;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::{EraseAnswer, EraseBody};
use crate::program::output::Output;

/// The copies that a hub cannot reach.
const LEFT: &str = "not reached: backups and other copies of the store (restore none of them without \
                    erasing again), state that handlers keep (`weir handlers state`), what \
                    destinations got, and logs and traces outside of the store";

/// Erase the contents of an event, or of all events with a business key
///
/// Headers, body and keys go, and the messages, logs, reasons and emitted events that came of them.
/// Times, types, states and outcomes stay, and a duplicate is still recognised. Deliveries that are
/// not finished, and dead letters, are cancelled. It cannot be undone, and needs the role admin.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["id", "key"])))]
pub struct EraseArgs {
    /// Event, evt_…, or the sender's own id
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Business key that the events have, such as order=1234
    #[arg(long, value_name = "NAME=VALUE")]
    pub key: Option<BusinessKey>,
    /// Erase; without it the events are only named
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &EraseArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let dry_run = !args.yes;
    let body = EraseBody { id: args.id.clone(), key: args.key.clone(), dry_run };
    let mut all: EraseAnswer = hub.post_body("/api/v1/erase", &body).await?;
    while all.more && !dry_run {
        let next: EraseAnswer = hub.post_body("/api/v1/erase", &body).await?;
        all.events.extend(next.events);
        all.cancelled += next.cancelled;
        all.more = next.more;
    }
    output.answer(&all, summary);
    if !dry_run && !all.events.is_empty() && !output.json {
        output.problem(LEFT);
    }
    Ok(())
}

fn summary(answer: &EraseAnswer) -> String {
    let EraseAnswer { dry_run, events, cancelled, more } = answer;
    let count = match events.len() {
        1 => "1 event".to_owned(),
        n if *more => format!("{n} events and more"),
        n => format!("{n} events"),
    };
    if *dry_run {
        let ids: Vec<_> = events.iter().map(EventId::to_string).collect();
        return match ids[..] {
            [] => "no event has it".to_owned(),
            _ => format!("{}\nwould erase {count}; --yes does it", ids.join("\n")),
        };
    }
    match cancelled {
        0 => format!("erased {count}"),
        1 => format!("erased {count}; 1 delivery is cancelled"),
        n => format!("erased {count}; {n} deliveries are cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(events: u128, cancelled: usize) -> EraseAnswer {
        let events = (0..events).map(EventId::from_bits).collect();
        EraseAnswer { events, cancelled, ..EraseAnswer::default() }
    }

    #[test]
    fn the_summary_says_what_was_erased_and_cancelled() {
        assert_eq!(summary(&answer(1, 0)), "erased 1 event");
        assert_eq!(summary(&answer(2, 1)), "erased 2 events; 1 delivery is cancelled");
    }

    #[test]
    fn a_dry_run_names_the_events() {
        let dry = |events| EraseAnswer { dry_run: true, ..answer(events, 0) };
        assert_eq!(summary(&dry(0)), "no event has it");
        assert!(summary(&dry(1)).ends_with("would erase 1 event; --yes does it"));
        let many = EraseAnswer { more: true, ..dry(2) };
        assert!(summary(&many).contains("2 events and more"));
    }
}
