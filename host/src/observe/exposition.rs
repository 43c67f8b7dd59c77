//! The names and help texts of all metrics, and the page that `/metrics` returns.
//!
//! A name is `weir_<noun>_<unit>_total`, or without `_total` for a gauge; `process_*` are the names
//! of every Prometheus client. [`ALL`] lists them; a test compares it with the table in
//! `docs/operating.md`.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use weir_core::time::Timestamp;
use weir_store::health::StoreHealth;
use weir_store::query::CountRow;

use super::families::Families;
use super::metrics::{Metrics, Signal, SourceMetrics, TargetMetrics};
use super::process::Process;
use super::series::Counter;
use super::source_work::SourceState;
use super::text::{self, Format};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// The description of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl MetricInfo {
    /// The name of its family in OpenMetrics.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self.kind {
            MetricKind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            MetricKind::Gauge | MetricKind::Histogram => self.name,
        }
    }

    /// The unit at the end of its name.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        let ends =
            |unit: &&&str| self.family().strip_suffix(**unit).is_some_and(|n| n.ends_with('_'));
        ["seconds", "bytes"].iter().find(ends).copied()
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: MetricInfo =
                MetricInfo { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All metrics.
        pub const ALL: &[MetricInfo] = &[$($constant),*];
    };
}

metrics! {
    BUILD = Gauge "weir_build_info" ["version"] "Always 1; the label is the version of the program";
    UP = Gauge "weir_uptime_seconds" [] "Seconds since the process started";
    READY = Gauge "weir_ready" [] "1 if webhooks are accepted, 0 if not";
    PAUSED = Gauge "weir_paused" [] "1 while a hold is on the whole hub: webhooks are stored, \
        nothing runs";
    PLUGINS_AWAY = Gauge "weir_plugins_away" [] "1 if the plugins folder is missing, unreadable \
        or not mounted";
    POISONED = Gauge "weir_store_poisoned" [] "1 if the store accepts no more writes after a \
        failure";
    FULL = Gauge "weir_store_full" [] "1 if webhooks are refused because the disk is full";
    UNREADABLE = Gauge "weir_store_unreadable_rows" [] "Unreadable rows of the store that were \
        set aside since the start";
    LOST = Gauge "weir_store_lost_rows" ["what"] "Rows that were acknowledged before the start \
        and are missing from the store";
    CONNECTIONS = Gauge "weir_connections_open" [] "Open connections of senders";
    CERTIFICATE = Gauge "weir_tls_certificate_not_after_seconds" ["listener"] "Expiry of the \
        certificate of a listener, in seconds since 1970";
    BODIES = Gauge "weir_body_bytes" [] "Bytes of request bodies in memory";
    REQUESTS = Counter "weir_requests_total" ["source", "code"] "Requests by the code of their \
        answer";
    REFUSED = Counter "weir_unattributed_requests_total" ["code"] "Requests refused before their \
        source was known";
    ACK = Histogram "weir_ack_duration_seconds" ["source", "result"] "Time from the head of a \
        request to its answer, for accepted and refused requests";
    STORED = Counter "weir_events_stored_total" ["source"] "Events stored";
    DUPLICATE = Counter "weir_events_duplicate_total" ["source"] "Duplicate events";
    ID_REUSED = Counter "weir_events_id_reused_total" ["source"] "Stored events with an id that \
        the sender used before for another body";
    UNROUTED = Counter "weir_events_unrouted_total" ["source"] "Stored events that no handler or \
        route matched";
    CONDITION_FAILED = Counter "weir_events_condition_failed_total" ["source"] "Stored events on \
        which a condition or an order key could not be evaluated";
    REPLIES = Counter "weir_replies_total" ["source", "result"] "Requests of sources with a \
        responder, by the origin of their answer";
    QUARANTINED = Counter "weir_quarantined_total" ["source", "result"] "Requests with an \
        invalid signature, kept in the quarantine or dropped because it was busy";
    SOURCE_ATTEMPTS = Counter "weir_source_attempts_total" ["source", "result"] "Ended attempts \
        at the events of a source: processed or failed";
    SOURCE_TOOK = Histogram "weir_source_attempt_duration_seconds" ["source"] "Duration of \
        attempts at the events of a source";
    SOURCE_STATE = Gauge "weir_source_state" ["source", "state"] "1 for the current state of a \
        source: ok, failing, silent or disconnected; 0 for the others";
    SOURCE_MESSAGES = Counter "weir_source_messages_total" ["source"] "Messages taken from the \
        server of a source: stored, or recognised as stored before";
    SOURCE_RECONNECTS = Counter "weir_source_reconnects_total" ["source"] "Connections to the \
        server of a source after one that was lost or refused";
    SOURCE_CONNECTED = Gauge "weir_source_connected" ["source"] "1 while the hub is connected to \
        the server of a source, 0 while it is not";
    RUNNING = Gauge "weir_attempts_running" [] "Running attempts of handlers and destinations";
    ATTEMPTS = Counter "weir_attempts_total" ["target", "outcome"] "Ended attempts";
    TOOK = Histogram "weir_attempt_duration_seconds" ["target"] "Duration of attempts";
    RETRIES = Counter "weir_retries_total" ["target"] "Failed attempts that are retried";
    DEAD = Counter "weir_dead_letters_total" ["target"] "Deliveries that became dead letters";
    CONFLICTS = Counter "weir_state_conflicts_total" ["target"] "Runs repeated because the state \
        that they read had changed";
    SUPERSEDED = Counter "weir_attempts_superseded_total" ["target"] "Results refused because a \
        newer attempt exists";
    UNAVAILABLE = Counter "weir_attempts_unavailable_total" ["target"] "Tries to send that do not \
        count as attempts, because the destination could take no message";
    STATE = Gauge "weir_target_state" ["target", "state"] "1 for the current state of a handler \
        or destination: ok, failing or paused; 0 for the others";
    FAILING = Counter "weir_target_failing_total" ["target"] "Number of times that a handler or \
        destination was paused after failures";
    ROLLBACKS = Counter "weir_handler_rollbacks_total" ["target"] "Number of times that an older \
        version of a handler was put back, by the hub or by a person";
    STRIKES = Counter "weir_handler_strikes_total" ["target"] "Events on which only the new \
        version of a handler failed, during its probation";
    PROBATION = Gauge "weir_handler_probation" ["target"] "1 while the version of a handler is on \
        probation";
    RELOADS = Counter "weir_reloads_total" ["result"] "Loads of modules, by result";
    ALERTS = Counter "weir_alerts_total" ["type"] "Raised alerts";
    ALERTS_DROPPED = Counter "weir_alerts_dropped_total" [] "Alerts dropped above a limit";
    CONFIG_RELOADS = Counter "weir_config_reloads_total" ["result"] "Reloads of the \
        configuration, by result";
    JOBS = Gauge "weir_jobs" ["state"] "Jobs that are running or paused";
    JOB_DELIVERIES = Counter "weir_job_deliveries_total" [] "Deliveries that jobs made due";
    DELIVERIES = Gauge "weir_deliveries" ["target", "state"] "Unfinished deliveries in the store";
    OLDEST = Gauge "weir_oldest_waiting_seconds" ["target"] "Age of the oldest waiting delivery, \
        since its event was received";
    UNROUTED_NOW = Gauge "weir_unrouted_events" ["source"] "Unrouted events in the store";
    STORE_EVENTS = Counter "weir_store_events_total" ["source", "what"] "Events since the store \
        was created";
    EXPORTED = Counter "weir_telemetry_records_total" ["signal", "result"] "Spans, log records and \
        batches of metrics for the OTLP collector: exported, or dropped because it was slow or \
        failed";
    CPU = Counter "process_cpu_seconds_total" [] "Processor time of the process, user and \
        system, in seconds";
    OPEN_FDS = Gauge "process_open_fds" [] "Open files of the process";
    MAX_FDS = Gauge "process_max_fds" [] "Limit on open files of the process";
    VIRTUAL = Gauge "process_virtual_memory_bytes" [] "Virtual memory of the process";
    VIRTUAL_MAX = Gauge "process_virtual_memory_max_bytes" [] "Limit on virtual memory of the \
        process";
    RESIDENT = Gauge "process_resident_memory_bytes" [] "Memory in use by the process";
    STARTED = Gauge "process_start_time_seconds" [] "When the process started, in seconds since \
        1970";
    THREADS = Gauge "process_threads" [] "Threads of the process";
}

/// The values that are read at each scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScrapedState {
    pub ready: bool,
    /// The store accepts no more writes.
    pub poisoned: bool,
    /// The plugins folder cannot be read.
    pub plugins_away: bool,
    /// Problems of the store while it works.
    pub condition: StoreHealth,
    /// The expiry of the listeners' certificates, by listener.
    pub certificates: Vec<(&'static str, Timestamp)>,
    /// Deliveries by target and state, from [`weir_store::Store::counts`].
    pub deliveries: Vec<CountRow>,
    /// Events by source.
    pub events: Vec<CountRow>,
    /// Unrouted events by source.
    pub unrouted: Vec<CountRow>,
    /// The age of the oldest waiting delivery, by target.
    pub oldest: Vec<(String, Duration)>,
    pub states: Vec<(String, String)>,
    /// A hold is on the whole hub.
    pub paused: bool,
    /// Jobs by state, without those that are over.
    pub jobs: Vec<(&'static str, u64)>,
    pub process: Option<Process>,
}

/// The states of a target.
const STATES: [&str; 3] = ["ok", "failing", "paused"];

/// The table of all metrics for the documents.
#[must_use]
pub fn table() -> String {
    let mut out = String::from("| metric | labels | meaning |\n|---|---|---|\n");
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        out += &format!("| `{}` | {} | {} |\n", metric.name, labels.join(", "), metric.help);
    }
    out
}

pub(super) fn encode(metrics: &Metrics, scraped: &ScrapedState, format: Format) -> String {
    text::write(&collect(metrics, scraped).0, format)
}

/// All metrics of this moment.
pub(super) fn collect(metrics: &Metrics, scraped: &ScrapedState) -> Families {
    let mut families = Families::default();
    Exposition { metrics, scraped }.collect(&mut families);
    families
}

struct Exposition<'a> {
    metrics: &'a Metrics,
    scraped: &'a ScrapedState,
}

impl Exposition<'_> {
    fn collect(&self, out: &mut Families) {
        self.hub(out);
        self.of_sources(out);
        self.work_of_sources(out);
        self.pulls_of_sources(out);
        self.of_targets(out);
        self.of_store(out);
        self.of_process(out);
    }

    fn hub(&self, out: &mut Families) {
        let metrics = self.metrics;
        out.family(BUILD, |m| m.number(&[env!("CARGO_PKG_VERSION")], 1_u64));
        out.family(UP, |m| m.number(&[], metrics.uptime().as_secs()));
        out.family(READY, |m| m.number(&[], self.scraped.ready));
        out.family(PAUSED, |m| m.number(&[], self.scraped.paused));
        out.family(PLUGINS_AWAY, |m| m.number(&[], self.scraped.plugins_away));
        out.family(POISONED, |m| m.number(&[], self.scraped.poisoned));
        let condition = &self.scraped.condition;
        out.family(FULL, |m| m.number(&[], condition.full_since.is_some()));
        out.family(UNREADABLE, |m| m.number(&[], condition.unreadable));
        out.family(LOST, |m| {
            condition.lost.iter().for_each(|lost| m.number(&[lost.what], lost.count()))
        });
        out.family(CONNECTIONS, |m| m.number(&[], metrics.connections().get()));
        out.family(CERTIFICATE, |m| {
            let certificates = self.scraped.certificates.iter();
            certificates.for_each(|(listener, at)| m.number(&[listener], at.as_millis() / 1_000))
        });
        out.family(BODIES, |m| m.number(&[], metrics.body_bytes().get()));
        out.family(RUNNING, |m| m.number(&[], metrics.running().get()));
        out.family(REFUSED, |m| m.by_code(None, metrics.refusals()));
        out.family(RELOADS, |m| m.by_code(None, metrics.module_loads()));
        let (alerts, dropped) = metrics.alerts();
        out.family(ALERTS, |m| m.by_code(None, alerts));
        out.family(ALERTS_DROPPED, |m| m.number(&[], dropped.get()));
        out.family(CONFIG_RELOADS, |m| m.by_code(None, metrics.config_reloads()));
        out.family(JOBS, |m| {
            self.scraped.jobs.iter().for_each(|(state, count)| m.number(&[state], *count))
        });
        out.family(JOB_DELIVERIES, |m| m.number(&[], metrics.due_by_jobs()));
        out.family(EXPORTED, |m| {
            for signal in Signal::ALL {
                let counts = metrics.exported(*signal);
                m.number(&[signal.as_str(), "exported"], counts.exported.get());
                m.number(&[signal.as_str(), "dropped"], counts.dropped.get());
            }
        });
    }

    fn of_sources(&self, out: &mut Families) {
        let sources = self.metrics.sources();
        out.family(REQUESTS, |m| {
            sources.iter().for_each(|(name, s)| m.by_code(Some(name), &s.answers))
        });
        out.family(ACK, |m| {
            sources.iter().for_each(|(name, s)| {
                m.durations(&[name, "taken"], &s.taken);
                m.durations(&[name, "refused"], &s.refused)
            })
        });
        let mut counters = |metric, of: fn(&SourceMetrics) -> &Counter| {
            out.family(metric, |m| {
                sources.iter().for_each(|(name, s)| m.number(&[name], of(s).get()))
            })
        };
        counters(STORED, |s| &s.stored);
        counters(DUPLICATE, |s| &s.duplicate);
        counters(ID_REUSED, |s| &s.id_reused);
        counters(UNROUTED, |s| &s.unrouted);
        counters(CONDITION_FAILED, |s| &s.condition_failed);
        out.family(REPLIES, |m| {
            sources.iter().for_each(|(name, s)| m.by_code(Some(name), &s.replies))
        });
        out.family(QUARANTINED, |m| {
            sources.iter().for_each(|(name, s)| m.by_code(Some(name), &s.quarantined))
        });
    }

    fn work_of_sources(&self, out: &mut Families) {
        let sources = self.metrics.sources();
        out.family(SOURCE_ATTEMPTS, |m| {
            for (name, source) in &sources {
                m.number(&[name, "processed"], source.work.processed.get());
                m.number(&[name, "failed"], source.work.failed.get());
            }
        });
        out.family(SOURCE_TOOK, |m| {
            sources.iter().for_each(|(name, s)| m.durations(&[name], &s.work.took));
        });
        out.family(SOURCE_STATE, |m| {
            for (name, source) in &sources {
                let now = source.work.state();
                SourceState::ALL
                    .iter()
                    .for_each(|state| m.number(&[name, state.as_str()], now == *state));
            }
        });
    }

    fn pulls_of_sources(&self, out: &mut Families) {
        let sources = self.metrics.sources();
        let pulled: Vec<_> =
            sources.iter().filter_map(|(name, s)| Some((name, s, s.pull.connected()?))).collect();
        out.family(SOURCE_MESSAGES, |m| {
            pulled.iter().for_each(|(name, s, _)| m.number(&[name], s.pull.messages.get()));
        });
        out.family(SOURCE_RECONNECTS, |m| {
            pulled.iter().for_each(|(name, s, _)| m.number(&[name], s.pull.reconnects.get()));
        });
        out.family(SOURCE_CONNECTED, |m| {
            pulled.iter().for_each(|(name, _, connected)| m.number(&[name], *connected));
        });
    }

    fn of_targets(&self, out: &mut Families) {
        let targets = self.metrics.targets();
        out.family(ATTEMPTS, |m| {
            targets.iter().for_each(|(name, t)| m.by_code(Some(name), &t.attempts))
        });
        out.family(TOOK, |m| targets.iter().for_each(|(name, t)| m.durations(&[name], &t.took)));
        let mut counters = |metric, of: fn(&TargetMetrics) -> &Counter| {
            out.family(metric, |m| {
                targets.iter().for_each(|(name, t)| m.number(&[name], of(t).get()))
            })
        };
        counters(RETRIES, |t| &t.retries);
        counters(DEAD, |t| &t.dead_letters);
        counters(CONFLICTS, |t| &t.state_conflicts);
        counters(SUPERSEDED, |t| &t.superseded);
        counters(UNAVAILABLE, |t| &t.unavailable);
        counters(FAILING, |t| &t.opened);
        let handlers = || targets.iter().filter(|(name, _)| name.starts_with("handler:"));
        out.family(ROLLBACKS, |m| {
            handlers().for_each(|(name, t)| m.number(&[name], t.rollbacks.get()))
        });
        out.family(STRIKES, |m| {
            handlers().for_each(|(name, t)| m.number(&[name], t.strikes.get()))
        });
        out.family(PROBATION, |m| {
            handlers().for_each(|(name, t)| m.number(&[name], t.on_probation.load(Relaxed)))
        });
        out.family(STATE, |m| {
            self.scraped.states.iter().for_each(|(target, now)| {
                STATES.iter().for_each(|state| m.number(&[target, state], now == state))
            })
        });
    }

    fn of_store(&self, out: &mut Families) {
        let ScrapedState { deliveries, events, unrouted, oldest, .. } = self.scraped;
        out.family(DELIVERIES, |m| {
            deliveries.iter().for_each(|row| m.number(&[&row.of, row.what], row.count))
        });
        out.family(OLDEST, |m| {
            oldest.iter().for_each(|(target, age)| m.number(&[target], age.as_secs_f64()))
        });
        out.family(UNROUTED_NOW, |m| {
            unrouted.iter().for_each(|row| m.number(&[&row.of], row.count))
        });
        out.family(STORE_EVENTS, |m| {
            events.iter().for_each(|row| m.number(&[&row.of, row.what], row.count))
        });
    }

    fn of_process(&self, out: &mut Families) {
        let Some(process) = &self.scraped.process else { return };
        out.family(CPU, |m| m.number(&[], process.cpu_seconds));
        // If the process has no limit, the value is the largest number, as in other clients.
        let mut whole = |metric, number: Option<u64>| {
            out.family(metric, |m| m.number(&[], number.unwrap_or(u64::MAX)))
        };
        whole(OPEN_FDS, Some(process.open_fds));
        whole(MAX_FDS, process.max_fds);
        whole(VIRTUAL, Some(process.virtual_memory_bytes));
        whole(VIRTUAL_MAX, process.virtual_memory_max_bytes);
        whole(RESIDENT, Some(process.resident_memory_bytes));
        whole(THREADS, Some(process.threads));
        out.family(STARTED, |m| m.number(&[], process.start_time_seconds));
    }
}

#[cfg(test)]
mod tests {
    use weir_store::health::LostRows;

    use weir_core::delivery::Outcome;
    use weir_core::name::{SourceName, Target};
    use weir_core::trace::TraceId;

    use super::super::metrics::ModuleLoad;
    use super::super::strict_parser;
    use super::*;

    fn busy(format: Format) -> String {
        let metrics = Metrics::new();
        let github = metrics.source(&SourceName::configured("github").unwrap());
        github.answered("accepted", Duration::from_millis(3));
        github.answered("signature_mismatch", Duration::from_micros(90));
        let trace = TraceId::new([7; 16]).unwrap();
        github.example(Duration::from_millis(3), trace);
        github.stored();
        let orders = metrics.target(&"handler:orders".parse::<Target>().unwrap());
        orders.attempt(Outcome::Crashed, Duration::from_secs(70));
        orders.example(Duration::from_secs(70), trace);
        orders.dead_letter();
        let ops = metrics.target(&"destination:ops".parse::<Target>().unwrap());
        ops.opened();
        metrics.refused_unknown_source();
        metrics.module_load(ModuleLoad::Loaded);
        let _open = metrics.connections().hold(2);
        let row = |of: &str, what, count| CountRow { of: of.into(), what, count };
        let odd = metrics.source(&SourceName::stored("odd \"\\\n"));
        odd.stored();
        let scraped = ScrapedState {
            jobs: vec![("running", 2), ("paused", 0)],
            paused: true,
            ready: true,
            poisoned: false,
            plugins_away: false,
            condition: StoreHealth {
                full_since: Some(Timestamp::from_millis(7)),
                unreadable: 2,
                lost: vec![LostRows {
                    what: "event",
                    first: 7,
                    last: 9,
                    found_at: Timestamp::from_millis(7),
                }],
                ..StoreHealth::default()
            },
            certificates: vec![("server", Timestamp::from_millis(1_893_456_000_999))],
            deliveries: vec![row("handler:orders", "dead_letter", 7)],
            events: vec![row("github", "stored", 41)],
            unrouted: vec![row("github", "unrouted", 3)],
            oldest: vec![("handler:orders".into(), Duration::from_millis(90_500))],
            states: vec![("destination:ops".into(), "failing".into())],
            process: Process::read(),
        };
        metrics.encode_with(&scraped, format)
    }

    #[test]
    fn the_documents_list_every_metric() {
        let document = include_str!("../../docs/operating.md");
        assert!(document.contains(&table()), "host/docs/operating.md should have:\n{}", table());
    }

    #[test]
    fn every_metric_is_exposed_under_its_name_with_its_kind() {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let text = busy(format);
            for metric in ALL {
                let (family, kind) = match (metric.kind, format) {
                    (MetricKind::Counter, Format::Prometheus) => (metric.name, "counter"),
                    (MetricKind::Counter, Format::OpenMetrics) => (metric.family(), "counter"),
                    (MetricKind::Gauge, _) => (metric.name, "gauge"),
                    (MetricKind::Histogram, _) => (metric.name, "histogram"),
                };
                assert!(text.contains(&format!("# TYPE {family} {kind}\n")), "{family} in\n{text}");
                assert!(text.contains(&format!("# HELP {family} {}", metric.help)), "{family}");
            }
        }
    }

    #[test]
    fn both_formats_pass_a_strict_parser() {
        let plain = strict_parser::read(&busy(Format::Prometheus), false).unwrap();
        let open = strict_parser::read(&busy(Format::OpenMetrics), true).unwrap();
        assert_eq!((plain.examples, open.examples), (0, 2));
        let process = |name: &str| name.starts_with("process_") || name == "weir_uptime_seconds";
        let steady = |page: strict_parser::Page| {
            page.series.into_iter().filter(|((name, _), _)| !process(name)).collect::<Vec<_>>()
        };
        assert_eq!(steady(plain), steady(open), "both say the same");
        let empty = Metrics::new();
        strict_parser::read(
            &empty.encode_with(&ScrapedState::default(), Format::OpenMetrics),
            true,
        )
        .unwrap();
    }

    #[test]
    fn counts_appear_in_the_exposition() {
        let text = busy(Format::Prometheus);
        for line in [
            "weir_requests_total{source=\"github\",code=\"accepted\"} 1",
            "weir_requests_total{source=\"github\",code=\"signature_mismatch\"} 1",
            "weir_unattributed_requests_total{code=\"unknown_source\"} 1",
            "weir_events_stored_total{source=\"github\"} 1",
            "weir_ack_duration_seconds_bucket{source=\"github\",result=\"taken\",le=\"0.0025\"} 0",
            "weir_ack_duration_seconds_bucket{source=\"github\",result=\"taken\",le=\"0.005\"} 1",
            "weir_ack_duration_seconds_count{source=\"github\",result=\"refused\"} 1",
            "weir_attempts_total{target=\"handler:orders\",outcome=\"crashed\"} 1",
            "weir_attempt_duration_seconds_bucket{target=\"handler:orders\",le=\"60.0\"} 0",
            "weir_attempt_duration_seconds_bucket{target=\"handler:orders\",le=\"+Inf\"} 1",
            "weir_dead_letters_total{target=\"handler:orders\"} 1",
            "weir_target_state{target=\"destination:ops\",state=\"failing\"} 1",
            "weir_target_state{target=\"destination:ops\",state=\"ok\"} 0",
            "weir_target_failing_total{target=\"destination:ops\"} 1",
            "weir_oldest_waiting_seconds{target=\"handler:orders\"} 90.5",
            "weir_unrouted_events{source=\"github\"} 3",
            "weir_connections_open 2",
            "weir_deliveries{target=\"handler:orders\",state=\"dead_letter\"} 7",
            "weir_store_events_total{source=\"github\",what=\"stored\"} 41",
            "weir_ready 1",
            "weir_tls_certificate_not_after_seconds{listener=\"server\"} 1893456000",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn metric_names_follow_the_rule_and_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|m| m.name).collect();
        for metric in ALL {
            let known = ["weir_", "process_"].iter().any(|start| metric.name.starts_with(start));
            assert!(known, "{}", metric.name);
            assert_eq!(metric.kind == MetricKind::Counter, metric.name.ends_with("_total"));
            assert_eq!(
                metric.kind == MetricKind::Histogram,
                metric.name.ends_with("_duration_seconds")
            );
            assert!(!metric.help.ends_with('.'), "help texts have no full stop: {}", metric.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_table_has_every_metric() {
        let table = table();
        assert_eq!(table.lines().count(), ALL.len() + 2);
        assert!(ALL.iter().all(|m| table.contains(&format!("| `{}` |", m.name))));
    }
}
