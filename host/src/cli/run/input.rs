//! The input of `weir run`: the event of a file or of a sample, with the state.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use weir_core::bounds::BODY_BYTES_MAX;
use weir_core::error::chain;
use weir_core::id::EventId;
use weir_core::name::SourceName;
use weir_core::request::RequestView;
use weir_core::time::{Clock as _, Timestamp};

use super::RunArgs;
use crate::cli::error::CommandError;
use crate::cli::providers::{catalog, find};
use crate::offline::{EventFields, Fixture, HeaderFields, StateValue, TimeField};
use crate::runtime::clock::SystemClock;
use crate::samples::{self, SampleDraft};

/// The largest file of an event or a state, in bytes: a body in base64 and room for the rest.
const FILE_BYTES_MAX: u64 = 2 * BODY_BYTES_MAX as u64;

/// The fixture to run, with what the command line changes in it.
pub(super) fn fixture(args: &RunArgs) -> Result<Fixture, CommandError> {
    let mut fixture = match (&args.event, &args.sample) {
        (Some(file), _) => of_file(file)?,
        (None, Some(sample)) => of_sample(sample, args.hub.as_deref(), SystemClock.now())?,
        (None, None) => {
            let what = "give an event: --event FILE, or --sample such as github:push";
            return Err(CommandError::Usage(what.into()));
        }
    };
    if let Some(file) = &args.state {
        fixture.state.extend(state(file)?);
    }
    fixture.event.attempt = args.attempt.or(fixture.event.attempt);
    fixture.seed = args.seed.clone().or(fixture.seed);
    Ok(fixture)
}

fn of_file(file: &Path) -> Result<Fixture, CommandError> {
    let text = read(file)?;
    let fixture = Fixture::parse(&text);
    fixture.map_err(|error| {
        CommandError::Usage(format!(
            "--event: {}: {}; an event is a JSON document such as {{\"event\": {{\"source\": \
             \"github\", \"type\": \"push\"}}, \"json\": {{}}}}",
            file.display(),
            chain(&error)
        ))
    })
}

fn state(file: &Path) -> Result<BTreeMap<String, StateValue>, CommandError> {
    serde_json::from_str(&read(file)?).map_err(|error| {
        CommandError::Usage(format!(
            "--state: {}: is not a JSON object of keys and texts: {error}",
            file.display()
        ))
    })
}

fn read(file: &Path) -> Result<String, CommandError> {
    let failed = |what: String| CommandError::Usage(format!("{}: {what}", file.display()));
    let unread = |error: std::io::Error| failed(format!("cannot be read: {error}"));
    let size = std::fs::metadata(file).map_err(unread)?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("has {size} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    std::fs::read_to_string(file).map_err(unread)
}

/// The first event of a sample, as a source of the provider's name would store it.
fn of_sample(sample: &str, hub: Option<&Path>, now: Timestamp) -> Result<Fixture, CommandError> {
    let (provider, name) = sample.split_once(':').ok_or_else(|| {
        CommandError::Usage("--sample: write PROVIDER:NAME, such as github:push".into())
    })?;
    let failed = |what: String| CommandError::Usage(format!("--sample: {what}"));
    let provider = find(&catalog(hub.map(Path::to_owned).as_ref())?, provider)?;
    let mut random =
        samples::randomness().map_err(|error| CommandError::Failed(error.to_string()))?;
    let drawn = SampleDraft::of_sample(&provider, name, None, now, &mut random);
    let draft = drawn.map_err(|error| failed(error.to_string()))?;
    let headers = draft.headers();
    let borrowed: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let view = RequestView {
        method: draft.method_name(),
        url: "/",
        headers: &borrowed,
        body: draft.body(),
    };
    let identified = provider.identify_unverified(&provider.facts(view));
    let identified = identified.map_err(|error| failed(error.to_string()))?;
    let Some(event) = identified.events.first() else {
        return Err(failed(format!("`{name}` is a handshake and carries no event")));
    };
    let body = event.bytes(draft.body());
    let source = SourceName::configured(&provider.name.replace('.', "-"))
        .map_err(|error| failed(error.to_string()))?;
    let (json, text, base64) = content(body);
    Ok(Fixture {
        about: None,
        event: EventFields {
            id: Some(EventId::from_parts(now, rand::RngExt::random(&mut random))),
            source,
            kind: event.kind.clone(),
            category: Some(event.category),
            delivery_id: event.delivery_id.as_deref().map(str::to_owned),
            received_at: Some(TimeField::Text(now)),
            content_type: identified.is_batch.then(|| "application/json".into()),
            attempt: None,
            parent: None,
        },
        headers: if identified.is_batch {
            HeaderFields::default()
        } else {
            HeaderFields::Pairs(headers.iter().map(lower).collect())
        },
        json,
        body: text,
        body_base64: base64,
        config: BTreeMap::new(),
        state: BTreeMap::new(),
        queued: Vec::new(),
        now: None,
        seed: None,
        expect: None,
    })
}

fn lower((name, value): &(String, String)) -> (String, String) {
    (name.to_ascii_lowercase(), value.clone())
}

/// A body as one of the fields `json`, `body` and `body_base64`.
fn content(body: &[u8]) -> (Option<Box<RawValue>>, Option<String>, Option<String>) {
    match std::str::from_utf8(body) {
        Ok(text) => match serde_json::from_str::<Box<RawValue>>(text) {
            Ok(json) if json.get().len() == text.len() => (Some(json), None, None),
            _ => (None, Some(text.to_owned()), None),
        },
        Err(_) => (None, None, Some(STANDARD.encode(body))),
    }
}
