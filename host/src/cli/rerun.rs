//! `weir rerun`: repeats a past run of a handler with the same input, and shows what differs.

use super::client::{AdminClient, HubArgs, path_id};
use super::error::CommandError;
use crate::api::RerunAnswer;
use crate::program::exit::Exit;
use crate::program::output::Output;

/// Repeat a past run with the same event, version, clock, seed and reads, and compare the result
///
/// Nothing is carried out. `weir events ID --json` has the ids of the attempts of an event. Grants,
/// limits and [config] are those of now.
#[derive(Debug, Clone, clap::Args)]
pub struct RerunArgs {
    /// The id of an attempt, att_…
    #[arg(value_name = "ATTEMPT")]
    pub attempt: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &RerunArgs, output: Output) -> Result<Exit, CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let path = format!("/api/v1/attempts/{}/rerun", path_id(&args.attempt)?);
    let answer: RerunAnswer = hub.post(&path).await?;
    output.answer(&answer, summary);
    Ok(if answer.same { Exit::Success } else { Exit::Differs })
}

fn summary(answer: &RerunAnswer) -> String {
    let RerunAnswer { attempt, handler, version, .. } = answer;
    let short = version.get(..12).unwrap_or(version);
    let mut text = format!("{attempt} of {handler} {short}, run again");
    match answer.same {
        true => text.push_str(": the same result\n\n"),
        false => text.push_str(": the result differs\n\n"),
    }
    match answer.same {
        true => text.push_str(&answer.result.join("\n")),
        false => text.push_str(&answer.diff),
    }
    for not_compared in &answer.not_compared {
        text.push_str(&format!("\nnot compared: {not_compared}"));
    }
    if !answer.log.is_empty() {
        text.push_str(&format!("\n\nlog\n{}", answer.log.join("\n")));
    }
    text
}
