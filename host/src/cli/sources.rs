//! `weir sources`: lists the sources in force, and accepts the secrets that some senders hand over.

use std::time::Duration;

use http::StatusCode;
use indicatif::ProgressBar;

use super::client::{AdminClient, ClientError, HubArgs};
use super::error::CommandError;
use crate::api::{
    ConnectionError, FieldChangeView, ForgottenSecret, ListPage, OpenWindowBody, SecretAnswer,
    ShapeView, SourceConnection, SourceErrorView, SourceView, WindowAnswer,
};
use crate::observe::shapes::FieldChange;
use crate::program::output::{Output, or_dash};

/// Time between two questions whether a secret has arrived.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest name of a source.
const NAME_BYTES_MAX: usize = 63;

/// List the sources in force, and accept secrets that senders hand over
#[derive(Debug, Clone, clap::Args)]
pub struct SourcesArgs {
    #[command(subcommand)]
    pub act: SourcesAct,
}

/// An act on sources.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SourcesAct {
    /// List sources (names of secrets only)
    List {
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show one source: its state, counts, times, last error, and changed fields of its events
    Show {
        /// Name of the source
        source: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Accept the secret that the next handshake hands over (Asana, Notion), once
    ///
    /// Anyone could send such a handshake, so do this only while you create the webhook at the
    /// provider. If the provider needs the secret back (Notion), this waits for it and prints it,
    /// once.
    AcceptSecret {
        /// Name of the source
        source: String,
        /// Time during which it is accepted
        #[arg(long = "for", value_name = "TIME", default_value = "10m")]
        time: String,
        /// Do not wait for a secret that the provider needs back; `learned-secret` prints it
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Print a handed-over secret that the provider needs back, once
    ///
    /// This works until the time of `accept-secret` ends. After that, or once the secret was
    /// printed, forget it and have the provider make another one.
    LearnedSecret {
        /// Name of the source
        source: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Forget the handed-over secret, so that another one can be accepted
    ForgetSecret {
        /// Name of the source
        source: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}

pub(super) async fn run(args: &SourcesArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        SourcesAct::List { hub } => {
            let listed: ListPage<SourceView> =
                AdminClient::find(hub)?.get("/api/v1/sources").await?;
            list(&listed.items, output);
        }
        SourcesAct::Show { source, hub } => {
            let path = format!("/api/v1/sources/{}", name(source)?);
            let source: SourceView = AdminClient::find(hub)?.get(&path).await?;
            output.answer(&source, show);
        }
        SourcesAct::AcceptSecret { source, time, no_wait, hub } => {
            accept(&AdminClient::find(hub)?, name(source)?, time, *no_wait, output).await?;
        }
        SourcesAct::LearnedSecret { source, hub } => {
            let answer = ask_secret(&AdminClient::find(hub)?, name(source)?).await?;
            match (&answer.secret, answer.until) {
                (Some(_), _) if output.json => output.value(&answer),
                // Alone on its line, for scripts.
                (Some(secret), _) => output.text(secret),
                (None, until) => {
                    let until = or_dash(until);
                    let what = format!("no secret yet: {source} accepts one until {until}");
                    return Err(CommandError::NotFound(what));
                }
            }
        }
        SourcesAct::ForgetSecret { source, hub } => {
            let path = format!("/api/v1/sources/{}/secret", name(source)?);
            let forgotten: ForgottenSecret = AdminClient::find(hub)?.delete(&path).await?;
            output.answer(&forgotten, |_| format!("the secret of {source} is forgotten"));
        }
    }
    Ok(())
}

/// Opens the window, and waits for a secret that has to be shown.
async fn accept(
    hub: &AdminClient,
    source: &str,
    time: &str,
    no_wait: bool,
    output: Output,
) -> Result<(), CommandError> {
    let path = format!("/api/v1/sources/{source}/secret-window");
    let body = OpenWindowBody { until: time.to_owned() };
    let window: WindowAnswer = hub.post_body(&path, &body).await?;
    let until = window.until;
    output.answer(&window, |window| {
        let mut text = format!("{source} accepts one secret from its sender until {until}");
        if window.shown_once && no_wait {
            text.push_str(&format!("\n`weir sources learned-secret {source}` prints it, once"));
        }
        text
    });
    if !window.shown_once || no_wait {
        return Ok(());
    }
    let line = format!(
        "waiting for it until {until}; `weir sources learned-secret {source}` prints it too"
    );
    let line = waiting(line, output);
    let answer = arrived(hub, source).await;
    line.finish_and_clear();
    let answer = answer?.ok_or_else(|| {
        CommandError::NotFound(format!("no sender handed over a secret for {source} until {until}"))
    })?;
    output.answer(&answer, |answer| {
        let secret = or_dash(answer.secret.as_ref());
        format!("the provider needs this secret back; it is not shown again:\n{secret}")
    });
    Ok(())
}

/// Waits for the secret. None if the window closes before it arrives.
async fn arrived(hub: &AdminClient, source: &str) -> Result<Option<SecretAnswer>, ClientError> {
    loop {
        match ask_secret(hub, source).await {
            Ok(answer) if answer.secret.is_some() => return Ok(Some(answer)),
            Ok(_) => tokio::time::sleep(POLL_INTERVAL).await,
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

async fn ask_secret(hub: &AdminClient, source: &str) -> Result<SecretAnswer, ClientError> {
    hub.post(&format!("/api/v1/sources/{source}/secret/show")).await
}

/// A line that shows the wait. It hides itself if standard error is not a terminal.
fn waiting(text: String, output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::new_spinner().with_message(text);
    line.enable_steady_tick(POLL_INTERVAL / 8);
    line
}

/// A name that is safe in a path.
fn name(text: &str) -> Result<&str, CommandError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(CommandError::Usage(format!("`{text}` is not the name of a source")))
    }
}

fn list(sources: &[SourceView], output: Output) {
    let headings = ["SOURCE", "KIND", "PROVIDER", "STATE", "SCHEMES", "VERIFIED WITH"];
    output.list(sources, "no sources", headings, |source| {
        let state = or_dash(source.health.as_ref().map(|health| health.state));
        let SourceView { name, provider, schemes, .. } = source;
        let (name, provider) = (name.to_string(), provider.clone());
        [name, source.kind.clone(), provider, state, or_dash(words(schemes)), verified_with(source)]
    });
}

/// A source with its health, a line each.
fn show(source: &SourceView) -> String {
    let fact = |name: &str, value: String| format!("{name:<14} {value}");
    let mut lines = vec![
        fact("source", source.name.to_string()),
        fact("kind", source.kind.clone()),
        fact("provider", source.provider.clone()),
    ];
    match &source.connection {
        Some(connection) => {
            lines.extend(connected(connection).map(|(name, value)| fact(name, value)))
        }
        None => {
            lines.push(fact("schemes", source.schemes.join(", ")));
            lines.push(fact("verified with", verified_with(source)));
        }
    }
    let Some(health) = &source.health else { return lines.join("\n") };
    let requests = format!("{} accepted, {} refused", health.received, health.refused);
    let events = format!(
        "{} stored, {} duplicate, {} unrouted",
        health.stored, health.duplicate, health.unrouted
    );
    let attempts = format!("{} processed, {} failed", health.processed, health.failed);
    lines.push(fact("state", health.state.to_string()));
    lines.push(fact("last received", or_dash(health.last_received_at)));
    lines.push(fact("requests", requests));
    lines.extend(health.seen.as_ref().map(|cause| fact("refused since", cause.clone())));
    lines.push(fact("events", events));
    lines.push(fact("attempts", attempts));
    if let (Some(average), Some(p99)) = (health.average_ms, health.p99_ms) {
        lines.push(fact("duration", format!("{average:.1} ms on average, p99 {p99:.1} ms")));
    }
    if let Some(SourceErrorView { at, target, outcome, reason }) = &health.last_error {
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        lines.push(fact("last error", format!("{at}, {target}, {outcome}{reason}")));
    }
    for shape in source.shapes.iter().flatten() {
        let learned = if shape.learned { "" } else { ", still learning" };
        let ShapeView { kind, fields, samples, changes, .. } = shape;
        lines.push(fact("fields", format!("{kind}: {fields} in {samples} events{learned}")));
        lines.extend(changes.iter().map(|change| format!("  {}", changed(change))));
    }
    lines.join("\n")
}

/// The connection to the server of a source, fact by fact.
fn connected(connection: &SourceConnection) -> impl Iterator<Item = (&'static str, String)> {
    let SourceConnection { address, state, since, last_error } = connection;
    let last = last_error.as_ref();
    let lost = last.map(|ConnectionError { at, reason }| ("last lost", format!("{at}, {reason}")));
    let now = [("from", address.clone()), ("connection", format!("{state} since {since}"))];
    now.into_iter().chain(lost)
}

/// Words with commas between them, if there are any.
fn words(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(", "))
}

fn changed(change: &FieldChangeView) -> String {
    let FieldChangeView { at, field, change, before, now } = change;
    match change {
        FieldChange::Appeared => format!("{at}  {field} appeared: {now}"),
        FieldChange::Vanished => format!("{at}  {field} vanished: {before}"),
        FieldChange::Retyped => format!("{at}  {field} was {before}, is {now}"),
    }
}

fn verified_with(source: &SourceView) -> String {
    match source.window_until {
        None if source.connection.is_some() => or_dash(None::<String>),
        Some(until) => format!("no secret yet: accepts one until {until}"),
        None if source.awaits_secret => "no secret yet: run `weir sources accept-secret`".into(),
        None => source.secrets.join(", "),
    }
}
