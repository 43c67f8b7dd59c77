//! Names and help texts of all metrics, and their OpenMetrics text.
//!
//! A name is `weir_<noun>_<unit>_total`, or without the end for what can fall. [`ALL`] is the list of them, from
//! which the table in the documents is made.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use weir_core::time::Timestamp;
use weir_store::query::CountRow;

use super::metrics::{Metrics, SourceMetrics, TargetMetrics};
use super::series::{ByCode, Counter, Durations};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, within one process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Durations by bucket.
    Histogram,
}

/// A metric's name and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// As it is scraped.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it counts, for people.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// Every metric there is.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD = Gauge "weir_build_info" ["version"] "Always 1; the label is the version of the program";
    UP = Gauge "weir_uptime_seconds" [] "Seconds since the process started";
    READY = Gauge "weir_ready" [] "1 if webhooks are taken, 0 if not";
    PLUGINS_AWAY = Gauge "weir_plugins_away" [] "1 if the plugins folder is gone, cannot be read or is not mounted";
    POISONED = Gauge "weir_store_poisoned" [] "1 if the store takes no more writes since a failure";
    CONNECTIONS = Gauge "weir_connections_open" [] "Connections of senders that are open";
    CERTIFICATE = Gauge "weir_tls_certificate_not_after_seconds" ["listener"] "When the first of the certificates that a listener shows is no longer valid, in seconds since 1970";
    BODIES = Gauge "weir_body_bytes" [] "Bytes of request bodies in memory";
    REQUESTS = Counter "weir_requests_total" ["source", "code"] "Requests by the code they were answered with";
    REFUSED = Counter "weir_unattributed_requests_total" ["code"] "Requests refused before their source was known";
    ACK = Histogram "weir_ack_duration_seconds" ["source", "result"] "From the head of a request to its answer, taken and refused apart";
    STORED = Counter "weir_events_stored_total" ["source"] "Events stored";
    DUPLICATE = Counter "weir_events_duplicate_total" ["source"] "Events that were stored already";
    ID_REUSED = Counter "weir_events_id_reused_total" ["source"] "Events stored whose sender's id was seen before with another body";
    UNROUTED = Counter "weir_events_unrouted_total" ["source"] "Events stored that go to nobody";
    REPLIES = Counter "weir_replies_total" ["source", "result"] "Requests of sources with a responder, by where their answer came from";
    QUARANTINED = Counter "weir_quarantined_total" ["source", "result"] "Requests that were not believed, kept in the quarantine or dropped for want of room on the way there";
    RUNNING = Gauge "weir_attempts_running" [] "Attempts under way, of handlers and destinations";
    ATTEMPTS = Counter "weir_attempts_total" ["target", "outcome"] "Attempts ended";
    TOOK = Histogram "weir_attempt_duration_seconds" ["target"] "How long attempts took";
    RETRIES = Counter "weir_retries_total" ["target"] "Failed attempts after which there will be another";
    DEAD = Counter "weir_dead_letters_total" ["target"] "Deliveries given up";
    CONFLICTS = Counter "weir_state_conflicts_total" ["target"] "Runs done again because what they read had changed";
    SUPERSEDED = Counter "weir_attempts_superseded_total" ["target"] "Results refused because another attempt had overtaken theirs";
    BREAKER = Gauge "weir_breaker_state" ["target"] "0 while deliveries go on, 1 while one of them is tried, 2 while they wait";
    OPENED = Counter "weir_breaker_opened_total" ["target"] "Times that failures made deliveries wait";
    RELOADS = Counter "weir_reloads_total" ["result"] "Modules looked at, by what came of it";
    ALERTS = Counter "weir_alerts_total" ["type"] "Alerts raised";
    ALERTS_DROPPED = Counter "weir_alerts_dropped_total" [] "Alerts that were too many";
    CONFIG_RELOADS = Counter "weir_config_reloads_total" ["result"] "Times that the configuration was read again, by what came of it";
    DELIVERIES = Gauge "weir_deliveries" ["target", "state"] "Deliveries in the store that are not done";
    UNROUTED_NOW = Gauge "weir_events_unrouted" ["source"] "Events in the store that went to nobody, until they are replayed";
    STORE_EVENTS = Counter "weir_store_events_total" ["source", "what"] "Events since the store was made";
}

/// What is asked of others at the moment of a scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scraped {
    /// Whether webhooks are taken.
    pub ready: bool,
    /// Whether the store takes no more writes.
    pub poisoned: bool,
    /// The plugins folder says nothing about its handlers.
    pub plugins_away: bool,
    /// When the certificates of listeners are no longer valid, by their names.
    pub certificates: Vec<(&'static str, Timestamp)>,
    /// Deliveries by target and state, from [`weir_store::Store::counts`].
    pub deliveries: Vec<CountRow>,
    /// Events by source, from the same.
    pub events: Vec<CountRow>,
    /// Those that are unrouted now, by source.
    pub unrouted: Vec<CountRow>,
}

/// The table of all metrics as the documents have it.
#[must_use]
pub fn table() -> String {
    let mut out = String::from("| metric | labels | what it says |\n|---|---|---|\n");
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        out += &format!("| `{}` | {} | {} |\n", metric.name, labels.join(", "), metric.help);
    }
    out
}

/// All metrics as OpenMetrics text.
pub(super) fn encode(metrics: &Metrics, scraped: &Scraped) -> String {
    let mut registry = Registry::default();
    let collect = Collect { metrics: metrics.clone(), scraped: scraped.clone() };
    registry.register_collector(Box::new(collect));
    let mut out = String::new();
    if text::encode(&mut out, &registry).is_err() {
        // A string takes whatever is written, so this is a fault of the encoder. A scraper tells half an answer
        // by its missing end mark; an empty one is plainer.
        out.clear();
    }
    out
}

#[derive(Debug)]
struct Collect {
    metrics: Metrics,
    scraped: Scraped,
}

impl Collector for Collect {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        self.process(&mut out)?;
        self.of_sources(&mut out)?;
        self.of_targets(&mut out)?;
        self.of_store(&mut out)
    }
}

impl Collect {
    fn process(&self, out: &mut Out<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        out.begin(BUILD, |m| m.gauge(&[env!("CARGO_PKG_VERSION")], 1))?;
        out.begin(UP, |m| m.gauge(&[], metrics.uptime().as_secs()))?;
        out.begin(READY, |m| m.gauge(&[], self.scraped.ready.into()))?;
        out.begin(PLUGINS_AWAY, |m| m.gauge(&[], self.scraped.plugins_away.into()))?;
        out.begin(POISONED, |m| m.gauge(&[], self.scraped.poisoned.into()))?;
        out.begin(CONNECTIONS, |m| m.gauge(&[], metrics.connections().get()))?;
        out.begin(CERTIFICATE, |m| {
            let mut certificates = self.scraped.certificates.iter();
            certificates.try_for_each(|(listener, at)| m.gauge(&[listener], at.as_millis() / 1_000))
        })?;
        out.begin(BODIES, |m| m.gauge(&[], metrics.body_bytes().get()))?;
        out.begin(RUNNING, |m| m.gauge(&[], metrics.running().get()))?;
        out.begin(REFUSED, |m| m.by_code(None, metrics.refusals()))?;
        out.begin(RELOADS, |m| m.by_code(None, metrics.reloads()))?;
        let (alerts, dropped) = metrics.alerts();
        out.begin(ALERTS, |m| m.by_code(None, alerts))?;
        out.begin(ALERTS_DROPPED, |m| m.counter(&[], dropped.get()))?;
        out.begin(CONFIG_RELOADS, |m| m.by_code(None, metrics.config_reloads()))
    }

    fn of_sources(&self, out: &mut Out<'_>) -> fmt::Result {
        let sources = self.metrics.sources();
        out.begin(REQUESTS, |m| {
            sources.iter().try_for_each(|(name, s)| m.by_code(Some(name), &s.answers))
        })?;
        out.begin(ACK, |m| {
            sources.iter().try_for_each(|(name, s)| {
                m.durations(&[name, "taken"], &s.taken)?;
                m.durations(&[name, "refused"], &s.refused)
            })
        })?;
        let mut counters = |metric, of: fn(&SourceMetrics) -> &Counter| {
            out.begin(metric, |m| {
                sources.iter().try_for_each(|(name, s)| m.counter(&[name], of(s).get()))
            })
        };
        counters(STORED, |s| &s.stored)?;
        counters(DUPLICATE, |s| &s.duplicate)?;
        counters(ID_REUSED, |s| &s.id_reused)?;
        counters(UNROUTED, |s| &s.unrouted)?;
        out.begin(REPLIES, |m| {
            sources.iter().try_for_each(|(name, s)| m.by_code(Some(name), &s.replies))
        })?;
        out.begin(QUARANTINED, |m| {
            sources.iter().try_for_each(|(name, s)| m.by_code(Some(name), &s.quarantined))
        })
    }

    fn of_targets(&self, out: &mut Out<'_>) -> fmt::Result {
        let targets = self.metrics.targets();
        out.begin(ATTEMPTS, |m| {
            targets.iter().try_for_each(|(name, t)| m.by_code(Some(name), &t.attempts))
        })?;
        out.begin(TOOK, |m| {
            targets.iter().try_for_each(|(name, t)| m.durations(&[name], &t.took))
        })?;
        let mut counters = |metric, of: fn(&TargetMetrics) -> &Counter| {
            out.begin(metric, |m| {
                targets.iter().try_for_each(|(name, t)| m.counter(&[name], of(t).get()))
            })
        };
        counters(RETRIES, |t| &t.retries)?;
        counters(DEAD, |t| &t.dead_letters)?;
        counters(CONFLICTS, |t| &t.state_conflicts)?;
        counters(SUPERSEDED, |t| &t.superseded)?;
        let breakers = || targets.iter().filter_map(|(name, t)| Some((name, t, t.phase()?)));
        out.begin(BREAKER, |m| {
            breakers().try_for_each(|(name, _, phase)| m.gauge(&[name], phase))
        })?;
        out.begin(OPENED, |m| {
            breakers().try_for_each(|(name, t, _)| m.counter(&[name], t.opened.get()))
        })
    }

    fn of_store(&self, out: &mut Out<'_>) -> fmt::Result {
        let Scraped { deliveries, events, unrouted, .. } = &self.scraped;
        out.begin(DELIVERIES, |m| {
            deliveries.iter().try_for_each(|row| m.gauge(&[&row.of, row.what], row.count))
        })?;
        out.begin(UNROUTED_NOW, |m| {
            unrouted.iter().try_for_each(|row| m.gauge(&[&row.of], row.count))
        })?;
        out.begin(STORE_EVENTS, |m| {
            events.iter().try_for_each(|row| m.counter(&[&row.of, row.what], row.count))
        })
    }
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn begin(
        &mut self,
        metric: Metric,
        series: impl FnOnce(&mut Series<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let (name, kind) = match metric.kind {
            // The encoder adds the end itself.
            Kind::Counter => {
                (metric.name.strip_suffix("_total").unwrap_or(metric.name), MetricType::Counter)
            }
            Kind::Gauge => (metric.name, MetricType::Gauge),
            Kind::Histogram => (metric.name, MetricType::Histogram),
        };
        let encoder = self.0.encode_descriptor(name, metric.help, None, kind)?;
        series(&mut Series { encoder, labels: metric.labels })
    }
}

/// The series of one metric.
struct Series<'a> {
    encoder: MetricEncoder<'a>,
    labels: &'static [&'static str],
}

impl Series<'_> {
    fn gauge(&mut self, values: &[&str], count: u64) -> fmt::Result {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.with(values, |e| e.encode_gauge(&count))
    }

    fn counter(&mut self, values: &[&str], count: u64) -> fmt::Result {
        self.with(values, |e| e.encode_counter::<NoLabelSet, u64, u64>(&count, None))
    }

    fn by_code(&mut self, of: Option<&str>, counts: &ByCode) -> fmt::Result {
        counts.each().try_for_each(|(code, count)| match of {
            Some(of) => self.counter(&[of, code], count),
            None => self.counter(&[code], count),
        })
    }

    fn durations(&mut self, values: &[&str], durations: &Durations) -> fmt::Result {
        let (sum, buckets) = durations.read();
        let count = buckets.iter().map(|(_, n)| n).sum();
        self.with(values, |e| e.encode_histogram::<NoLabelSet>(sum, count, &buckets, None))
    }

    fn with(
        &mut self,
        values: &[&str],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        debug_assert_eq!(self.labels.len(), values.len());
        if values.is_empty() {
            return write(&mut self.encoder);
        }
        let labels: Vec<(&str, &str)> =
            self.labels.iter().copied().zip(values.iter().copied()).collect();
        write(&mut self.encoder.encode_family(&labels.as_slice())?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::breaker::Phase;
    use weir_core::delivery::Outcome;
    use weir_core::name::{SourceName, Target};

    use super::*;

    fn busy() -> String {
        let metrics = Metrics::new();
        let github = metrics.source(&SourceName::configured("github").unwrap());
        github.answered("accepted", Duration::from_millis(3));
        github.answered("signature_mismatch", Duration::from_micros(90));
        github.stored();
        let orders = metrics.target(&"handler:orders".parse::<Target>().unwrap());
        orders.attempt(Outcome::Crashed, Duration::from_secs(70));
        orders.dead_letter();
        let ops = metrics.target(&"destination:ops".parse::<Target>().unwrap());
        ops.breaker(Phase::Open);
        ops.opened();
        metrics.refused_unknown_source();
        metrics.reload("loaded");
        let _open = metrics.connections().hold(2);
        let row = |of: &str, what, count| CountRow { of: of.into(), what, count };
        metrics.encode_with(&Scraped {
            ready: true,
            poisoned: false,
            plugins_away: false,
            certificates: vec![("server", Timestamp::from_millis(1_893_456_000_999))],
            deliveries: vec![row("handler:orders", "dead_letter", 7)],
            events: vec![row("github", "stored", 41)],
            unrouted: vec![row("github", "unrouted", 3)],
        })
    }

    #[test]
    fn the_documents_list_every_metric() {
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&table()), "host/README.md should have:\n{}", table());
    }

    #[test]
    fn every_metric_is_exposed_under_its_name_with_its_kind() {
        let text = busy();
        for metric in ALL {
            let (name, kind) = match metric.kind {
                Kind::Counter => (metric.name.strip_suffix("_total").unwrap(), "counter"),
                Kind::Gauge => (metric.name, "gauge"),
                Kind::Histogram => (metric.name, "histogram"),
            };
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} in\n{text}");
            assert!(text.contains(&format!("# HELP {name} {}", metric.help)), "{name}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_was_counted_can_be_read_off() {
        let text = busy();
        for line in [
            "weir_requests_total{source=\"github\",code=\"accepted\"} 1",
            "weir_requests_total{source=\"github\",code=\"signature_mismatch\"} 1",
            "weir_unattributed_requests_total{code=\"unknown_source\"} 1",
            "weir_events_stored_total{source=\"github\"} 1",
            "weir_ack_duration_seconds_bucket{le=\"0.0025\",source=\"github\",result=\"taken\"} 0",
            "weir_ack_duration_seconds_bucket{le=\"0.005\",source=\"github\",result=\"taken\"} 1",
            "weir_ack_duration_seconds_count{source=\"github\",result=\"refused\"} 1",
            "weir_attempts_total{target=\"handler:orders\",outcome=\"crashed\"} 1",
            "weir_attempt_duration_seconds_bucket{le=\"60.0\",target=\"handler:orders\"} 0",
            "weir_attempt_duration_seconds_bucket{le=\"+Inf\",target=\"handler:orders\"} 1",
            "weir_dead_letters_total{target=\"handler:orders\"} 1",
            "weir_breaker_state{target=\"destination:ops\"} 2",
            "weir_breaker_opened_total{target=\"destination:ops\"} 1",
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
    fn names_follow_the_rule_and_none_is_taken_twice() {
        let mut names: Vec<_> = ALL.iter().map(|m| m.name).collect();
        for metric in ALL {
            assert!(metric.name.starts_with("weir_"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"));
            assert_eq!(metric.kind == Kind::Histogram, metric.name.ends_with("_duration_seconds"));
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
