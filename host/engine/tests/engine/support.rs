//! Helpers of these tests: guests, events, runs with their grants, and readers of reports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_core::effect::{Effects, Message, MessageContent};
use weir_core::event::{Category, Event, EventType, Lineage};
use weir_core::id::EventId;
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::payload::Payload;
use weir_core::state::{StateEntry, StateReader, StateUnavailable};
use weir_core::time::Timestamp;
use weir_engine::{
    AllowedDestinations, CommandInput, Engine, Grants, Module, Options, Run, RunLimits, RunReport,
};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_007);

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(Options::default()).unwrap());

static LOADED: LazyLock<Mutex<HashMap<&'static str, Module>>> = LazyLock::new(Mutex::default);

/// The engine that tests share.
pub(crate) fn engine() -> &'static Engine {
    &ENGINE
}

/// The bytes of a committed guest.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/guests");
    std::fs::read(dir.join(format!("{name}.wasm"))).unwrap()
}

/// A committed guest, loaded once.
pub(crate) fn module(name: &'static str) -> Module {
    let mut loaded = LOADED.lock();
    loaded.entry(name).or_insert_with(|| engine().load(&guest(name)).unwrap()).clone()
}

/// A module written as text.
pub(crate) fn text(wat: &str) -> Module {
    engine().load(&wat::parse_str(wat).unwrap()).unwrap()
}

/// Committed state in memory.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) entries: BTreeMap<Box<str>, StateEntry>,
    pub(crate) waiting: BTreeSet<String>,
    pub(crate) padding: u64,
    pub(crate) broken: bool,
}

impl Stored {
    pub(crate) fn with(entries: &[(&str, &str, u64)]) -> Self {
        let entry = |(key, value, version): &(&str, &str, u64)| {
            let entry = StateEntry { value: (*value).into(), version: *version, expires_at: None };
            ((*key).into(), entry)
        };
        Self { entries: entries.iter().map(entry).collect(), ..Self::default() }
    }

    fn check(&self) -> Result<(), StateUnavailable> {
        if self.broken { Err(StateUnavailable("the disk is gone".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl StateReader for Stored {
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        self.check()?;
        Ok(self.entries.get(key).cloned())
    }

    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        self.check()?;
        let live = self.entries.iter().filter(|(key, entry)| {
            key.starts_with(prefix) && ***key > *after && entry.is_live(now)
        });
        Ok(live.map(|(key, _)| key.clone()).take(limit as usize).collect())
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        self.check()?;
        let bytes = self.entries.iter().map(|(k, e)| (k.len() + e.value.len()) as u64);
        Ok(bytes.sum::<u64>() + self.padding)
    }

    async fn has_queued(&self, key: &str) -> Result<bool, StateUnavailable> {
        self.check()?;
        Ok(self.waiting.contains(key))
    }
}

/// The input of a run.
pub(crate) struct Try {
    pub(crate) module: Module,
    pub(crate) event: Event,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) grants: Grants,
    pub(crate) limits: RunLimits,
    pub(crate) attempt: u32,
    pub(crate) seed: [u8; 32],
    pub(crate) state: Arc<dyn StateReader>,
    pub(crate) command: CommandInput,
}

fn names(names: &[&str]) -> BTreeSet<DestinationName> {
    names.iter().map(|n| DestinationName::new(n).unwrap()).collect()
}

impl Try {
    pub(crate) fn of(module: Module, body: impl Into<Vec<u8>>) -> Self {
        let headers = [
            ("content-type", &b"application/json"[..]),
            ("x-event", b"push"),
            ("x-latin", b"caf\xe9"),
            ("authorization", b"Bearer secret"),
        ];
        let headers = headers.map(|(n, v)| (n.into(), bytes::Bytes::from_static(v)));
        let payload = Payload { headers: headers.into(), body: body.into().into() };
        let event = Event {
            id: EventId::from_bits(7),
            public_id: EventId::from_bits(8),
            source: SourceName::configured("github").unwrap(),
            kind: EventType::new("push").unwrap(),
            category: Some(Category::Updated),
            delivery_id: Some("d-1".into()),
            received_at: Timestamp::from_millis(1_759_999_999_000),
            lineage: None,
            payload: Arc::new(payload),
        };
        let grants = Grants {
            destinations: AllowedDestinations::These(names(&["sink", "ops", "ghost"])),
            known: Arc::new(names(&["sink", "ops", "ledger"])),
            emit: true,
            place: "plugins/probe.toml: [grant]".into(),
        };
        Self {
            module,
            event,
            config: BTreeMap::new(),
            grants,
            limits: RunLimits::default(),
            attempt: 1,
            seed: [1; 32],
            state: Arc::new(Stored::default()),
            command: CommandInput::default(),
        }
    }

    /// A run of the probe with these steps.
    pub(crate) fn steps(steps: &Value) -> Self {
        Self::of(module("probe"), json!({ "steps": steps }).to_string())
    }

    pub(crate) fn stored(mut self, stored: Stored) -> Self {
        self.state = Arc::new(stored);
        self
    }

    pub(crate) fn depth(mut self, depth: u8) -> Self {
        let parent = EventId::from_bits(99);
        self.event.lineage = Some(Lineage { root: parent, parent, depth });
        self
    }

    pub(crate) fn ready(self) -> (Module, Run) {
        let run = Run {
            event: Arc::new(self.event),
            handler: HandlerName::new("orders").unwrap(),
            config: Arc::new(self.config),
            grants: Arc::new(self.grants),
            limits: self.limits,
            attempt: self.attempt,
            id_round: 0,
            now: NOW,
            seed: self.seed,
            state: self.state,
            command: Arc::new(self.command),
        };
        (self.module, run)
    }

    pub(crate) async fn run(self) -> RunReport {
        let (module, run) = self.ready();
        module.run(run).await
    }
}

/// Runs steps of the probe. Returns the result of each.
pub(crate) async fn results(steps: Value) -> Vec<Value> {
    reported(&Try::steps(&and_report(steps)).run().await)
}

/// The steps, then a report of their results to `sink`.
pub(crate) fn and_report(mut steps: Value) -> Value {
    steps.as_array_mut().unwrap().push(json!({ "op": "report", "destination": "sink" }));
    steps
}

/// The results that the probe reported to `sink`.
pub(crate) fn reported(report: &RunReport) -> Vec<Value> {
    assert_eq!(report.reason(), None, "{:?}", report.log);
    let last = report.effects.messages.iter().rfind(|m| m.destination.as_str() == "sink");
    let output: Value = serde_json::from_slice(body(last.unwrap())).unwrap();
    output["results"].as_array().unwrap().clone()
}

/// The body of a message that has its own payload.
pub(crate) fn body(message: &Message) -> &[u8] {
    match &message.content {
        MessageContent::Own(payload) => &payload.body,
        MessageContent::Forward { .. } => panic!("forwards the event's body"),
    }
}

/// The payload of a message that has its own payload.
pub(crate) fn payload(message: &Message) -> &Payload {
    match &message.content {
        MessageContent::Own(payload) => payload,
        MessageContent::Forward { .. } => panic!("forwards the event's body"),
    }
}

/// The messages that are not the probe's report.
pub(crate) fn messages(effects: &Effects) -> Vec<&Message> {
    let report = |m: &Message| match &m.content {
        MessageContent::Own(payload) => payload.body.starts_with(b"{\"event\":"),
        MessageContent::Forward { .. } => false,
    };
    effects.messages.iter().filter(|m| !report(m)).collect()
}

/// The lines of a report's log as `level message`.
pub(crate) fn lines(report: &RunReport) -> Vec<String> {
    report.log.lines.iter().map(|l| format!("{} {}", l.level, l.message)).collect()
}
