//! `weir events ID --save FILE`: a fixture of an event that a hub has stored.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use serde_json::json;
use serde_json::value::RawValue;
use weir_core::name::Target;
use weir_core::provider::CREDENTIAL_HEADERS;

use crate::api::{
    AttemptReadsView, AttemptView, BytesView, DeliveryView, EventDetailView, HeaderView,
    PayloadView, ReadValueView,
};
use crate::cli::client::AdminClient;
use crate::cli::error::CommandError;
use crate::offline::{EventFields, ExpectedEnd, Fixture, HeaderFields, StateValue, TimeField};
use crate::program::output::Output;

/// Writes the fixture of an event. A file that is there already is kept.
pub(super) async fn save(
    hub: &AdminClient,
    detail: &EventDetailView,
    file: &Path,
    output: Output,
) -> Result<(), CommandError> {
    let attempt = run(detail, file);
    let reads: Option<AttemptReadsView> = match attempt {
        Some(attempt) => Some(hub.get(&format!("/api/v1/attempts/{}/reads", attempt.id)).await?),
        None => None,
    };
    let fixture = fixture(detail, attempt, reads.as_ref())?;
    let failed = |what: String| CommandError::Failed(format!("{}: {what}", file.display()));
    let text = fixture.to_text().map_err(|error| failed(error.to_string()))?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| failed(format!("its folder cannot be created: {error}")))?;
    }
    let mut options = std::fs::OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|error| failed(format!("cannot be written: {error}")))?;
    let outcome = fixture.expect.as_ref().map(|expect| expect.outcome);
    if output.json {
        output.value(&json!({
            "file": file.display().to_string(), "event": detail.event.id, "outcome": outcome,
        }));
        return Ok(());
    }
    let expects = outcome.map_or_else(
        || "no run of a handler is stored, so it expects success".to_owned(),
        |outcome| format!("it expects the outcome {outcome}"),
    );
    if reads.as_ref().is_some_and(|reads| !reads.known) {
        output.problem("warning: the state that the run read was not kept; add what it needs");
    }
    output.text(&format!(
        "{} written: {expects}; `weir test --bless` records effects and state too",
        file.display()
    ));
    Ok(())
}

/// The fixture of an event, or of this run of it.
fn fixture(
    detail: &EventDetailView,
    attempt: Option<&AttemptView>,
    reads: Option<&AttemptReadsView>,
) -> Result<Fixture, CommandError> {
    let EventDetailView { event, payload, .. } = detail;
    let payload = payload.as_ref().ok_or_else(|| {
        CommandError::Failed("retention has removed the body of this event".into())
    })?;
    let (json, body, body_base64) = content(payload)?;
    Ok(Fixture {
        about: Some(format!("{} {} of {}", event.source, event.kind, event.received_at)),
        event: EventFields {
            id: Some(event.outward_id.unwrap_or(event.id)),
            source: event.source.clone(),
            kind: event.kind.clone(),
            category: event.category,
            delivery_id: event.delivery_id.clone(),
            received_at: Some(TimeField::Text(event.received_at)),
            content_type: None,
            attempt: attempt.map(|attempt| attempt.number).filter(|number| *number > 1),
            parent: event.parent,
        },
        headers: HeaderFields::Pairs(headers(&payload.headers)),
        json,
        body,
        body_base64,
        config: BTreeMap::new(),
        state: reads.map(state).unwrap_or_default(),
        queued: reads.map(|reads| reads.queued.clone()).unwrap_or_default(),
        now: attempt.map(|attempt| TimeField::Text(attempt.started_at)),
        seed: reads.map(|reads| reads.seed.clone()),
        expect: attempt.map(|attempt| ExpectedEnd::of_outcome(attempt.outcome)),
    })
}

/// The state that a run read. A key that it only listed has no value here.
fn state(reads: &AttemptReadsView) -> BTreeMap<String, StateValue> {
    let listed = reads.listed.iter().map(|key| (key.clone(), StateValue::Text(String::new())));
    let mut state: BTreeMap<_, _> = listed.collect();
    for ReadValueView { key, value, expires_at } in &reads.values {
        let Some(value) = value.clone() else { continue };
        let value = match expires_at {
            None => StateValue::Text(value),
            Some(at) => StateValue::Expiring { value, expires_at: TimeField::Text(*at) },
        };
        state.insert(key.clone(), value);
    }
    state
}

/// The last run of the event by the handler whose fixtures are in the folder of `file`, or else by
/// any handler.
fn run<'a>(detail: &'a EventDetailView, file: &Path) -> Option<&'a AttemptView> {
    let folder = file.parent().filter(|folder| folder.extension() == Some(OsStr::new("fixtures")));
    let handler = folder.and_then(Path::file_stem).and_then(OsStr::to_str);
    let deliveries = detail.delivery.iter().chain(&detail.event.deliveries);
    let mut runs = deliveries.filter(|delivery| match (&delivery.target, handler) {
        (Target::Handler(name), Some(wanted)) => name.as_str() == wanted,
        (Target::Handler(_), None) => true,
        (Target::Destination(_), _) => false,
    });
    let delivery: &DeliveryView = runs.find(|delivery| !delivery.history.is_empty())?;
    delivery.history.last()
}

/// The headers, without credentials. Tokens in others are stored as fingerprints.
fn headers(stored: &[HeaderView]) -> Vec<(String, String)> {
    let kept = stored.iter().filter(|header| !CREDENTIAL_HEADERS.contains(&&*header.name));
    kept.filter_map(|header| match &header.value {
        BytesView::Text(text) => Some((header.name.clone(), text.clone())),
        // A fixture has headers that are text.
        BytesView::Base64(_) => None,
    })
    .collect()
}

type Content = (Option<Box<RawValue>>, Option<String>, Option<String>);

/// The body as one of the fields `json`, `body` and `body_base64`.
fn content(payload: &PayloadView) -> Result<Content, CommandError> {
    if payload.body.truncated {
        return Err(CommandError::Failed("the hub sent only a part of the body".into()));
    }
    Ok(match &payload.body.shown {
        BytesView::Base64(text) => (None, None, Some(text.clone())),
        BytesView::Text(text) if text.is_empty() => (None, None, None),
        BytesView::Text(text) => match serde_json::from_str::<Box<RawValue>>(text) {
            Ok(json) if json.get().len() == text.len() => (Some(json), None, None),
            _ => (None, Some(text.clone()), None),
        },
    })
}
