//! `weir events --follow`: prints new events as they are stored.

use std::time::Duration;

use super::{EventsArgs, HEADINGS, row};
use crate::api::{EventView, LiveFrame};
use crate::cli::client::AdminClient;
use crate::cli::error::CommandError;
use crate::program::output::{Output, table};

/// The time before a broken stream is opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// Times in a row that a stream is opened again without a frame.
const TRIES_MAX: u32 = 30;

pub(super) async fn run(
    hub: &AdminClient,
    args: &EventsArgs,
    output: Output,
) -> Result<(), CommandError> {
    let query = args.filter.live_query();
    let mut cursor: Option<String> = None;
    let mut tries = 0;
    loop {
        match hub.stream("/api/v1/events/live", &query, cursor.as_deref()).await {
            Ok(mut stream) => {
                while let Some(frame) = stream.next::<LiveFrame>().await {
                    if cursor.is_none() {
                        heading(output);
                    }
                    tries = 0;
                    print(&frame, output);
                    cursor = Some(frame.cursor);
                }
            }
            // A hub that was never reached, or that refuses, is not waited for.
            Err(error) if cursor.is_none() || !error.may_be_gone_soon() => return Err(error.into()),
            Err(error) if tries >= TRIES_MAX => return Err(error.into()),
            Err(_) => {}
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn heading(output: Output) {
    output.problem("Waiting for new events. Interrupt to stop.");
}

fn print(frame: &LiveFrame, output: Output) {
    let hidden = frame.count.saturating_sub(frame.rows.len() as u64);
    if frame.gap {
        output.problem("more events came than can be shown; `weir events` lists them");
    } else if hidden > 0 {
        output.problem(&format!("and {hidden} more events, which `weir events` lists"));
    }
    for event in frame.rows.iter().rev() {
        if output.json {
            output.value(event);
        } else {
            output.text(&line(event));
        }
    }
}

/// One event in the columns of the list.
pub(in crate::cli) fn line(event: &EventView) -> String {
    let cells = row(event.id, event.received_at, &event.source, &event.kind, event.status);
    let text = table(&HEADINGS, &[cells.to_vec()]);
    text.lines().nth(1).unwrap_or_default().to_owned()
}
