//! A collector receives one trace of an event, the metrics of `/metrics`, and the log.

use std::collections::BTreeMap;

use http::{HeaderValue, Request};
use http_body_util::Full;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

use super::collector::{Collector, attribute};
use crate::strict_parser;

const SENDER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDERS_SPAN: &str = "00f067aa0ba902b7";

/// A hub whose handler sends a message and emits an event, and that forwards both events.
fn busy(collector: &Collector, sink: &Sink, more: &str) -> TestHub {
    let steps = r#"[{"op":"emit","type":"told","body":"x"},{"op":"send","destination":"sink","json":{"n":1}}]"#;
    TestHub::new()
        .github()
        .handler("teller", "probe")
        .sidecar(
            "teller",
            &format!(
                "on = [\"github:*\"]\n[config]\nsteps = '''{steps}'''\n\
                 [grant]\ndestinations = [\"sink\"]\nemit = true"
            ),
        )
        .destination("sink", sink, "")
        .config("[[route]]\non = [\"github:*\", \"@teller:*\"]\nto = \"sink\"")
        .config(&collector.config(more))
}

async fn spans(collector: &Collector, count: usize) -> Vec<Span> {
    until(&format!("{count} spans"), async || {
        let spans = collector.spans();
        let seen: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
        if seen.len() >= count { Ok(spans) } else { Err(format!("{seen:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_shows_one_trace_from_the_sender_to_the_destination() {
    let (collector, sink) = (Collector::start().await, Sink::start().await);
    let hub = busy(&collector, &sink, "").start().await;
    hub.until_ready("teller").await;
    let mut request = hub.push_request("push", "one", b"{\"n\":1}");
    request.headers_mut().insert("traceparent", HeaderValue::from_static(SENDER));
    let (status, body) = hub.send(request).await;
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let event = answer["event_id"].as_str().unwrap();

    let received = sink.until_received(3).await;
    // ingress, run, three sends, and a settlement for the run and each send.
    let spans = spans(&collector, 9).await;
    let mut by_name = BTreeMap::<&str, Vec<&Span>>::new();
    for span in &spans {
        assert_eq!(hex::encode(&span.trace_id), TRACE, "{span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        assert!(span.status.is_none(), "{span:?}");
        by_name.entry(&span.name).or_default().push(span);
    }
    let [ingress] = by_name["ingress"][..] else { panic!("{by_name:?}") };
    let [run] = by_name["run"][..] else { panic!("{by_name:?}") };
    let sends = &by_name["send"];
    assert_eq!((sends.len(), by_name["settle"].len()), (3, 4));
    assert_eq!(hex::encode(&ingress.parent_span_id), SENDERS_SPAN);
    assert_eq!(run.parent_span_id, ingress.span_id);
    for (name, value) in [
        ("weir.event.id", event),
        ("weir.source", "github"),
        ("weir.event.type", "push"),
        ("weir.target", "handler:teller"),
        ("weir.outcome", "ok"),
    ] {
        assert_eq!(attribute(&run.attributes, name), value, "{name}");
    }
    assert_eq!(attribute(&ingress.attributes, "weir.event.id"), event);
    // The forwarded event continues the request; the message and the emitted event the run.
    let parents: Vec<_> = sends.iter().map(|send| &send.parent_span_id).collect();
    assert_eq!(parents.iter().filter(|id| ***id == ingress.span_id).count(), 1);
    assert_eq!(parents.iter().filter(|id| ***id == run.span_id).count(), 2);
    let mut sent: Vec<_> =
        sends.iter().map(|span| format!("00-{TRACE}-{}-01", hex::encode(&span.span_id))).collect();
    let mut heard: Vec<_> = received.iter().map(|r| r.header("traceparent").to_owned()).collect();
    sent.sort();
    heard.sort();
    assert_eq!(heard, sent, "each request names the span that sent it");

    let scrape = Request::get(format!("http://{}/metrics", hub.admin))
        .header("accept", "application/openmetrics-text")
        .body(Full::default());
    let (_, page) = hub.send(scrape.unwrap()).await;
    let page = strict_parser::read(std::str::from_utf8(&page).unwrap(), true).unwrap();
    assert!(page.examples >= 3, "the source, the handler and the destination: {}", page.examples);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_trace_is_made_if_it_is_sampled() {
    let (collector, sink) = (Collector::start().await, Sink::start().await);
    let hub = busy(&collector, &sink, "logs = false").start().await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    let trace = hub.event(&event).await["trace"].as_str().unwrap().to_owned();
    let spans = spans(&collector, 9).await;
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) == trace), "{spans:?}");
    // A request that is not verified has no span, whatever it says of a trace.
    let headers = [("traceparent", SENDER), ("x-hub-signature-256", "sha256=00")];
    assert_eq!(hub.post("github", &headers, b"{}").await.status, 401);
    assert_eq!(hub.stop().await, 0);
    assert!(collector.spans().iter().all(|span| hex::encode(&span.trace_id) != TRACE));
    assert!(collector.logs().is_empty());

    let none = busy(&collector, &sink, "sample = 0.0").start().await;
    let event = none.push("push", "two", b"{}").await.accepted();
    assert!(none.event(&event).await.get("trace").is_none());
}

/// Numbers by name and labels, in the form of `/metrics`.
fn numbers(collector: &Collector) -> BTreeMap<(String, Vec<(String, String)>), f64> {
    let mut all = BTreeMap::new();
    for metric in collector.newest_metrics() {
        let name = metric.name.clone();
        let points = match metric.data.unwrap() {
            metric::Data::Gauge(gauge) => gauge.data_points,
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{name}");
                sum.data_points
            }
            metric::Data::Histogram(histogram) => {
                for point in histogram.data_points {
                    let labels = labels(&point.attributes);
                    all.insert((format!("{name}_sum"), labels.clone()), point.sum.unwrap());
                    let count = f64::from(u32::try_from(point.count).unwrap());
                    all.insert((format!("{name}_count"), labels), count);
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                }
                continue;
            }
            other => panic!("{other:?}"),
        };
        for point in points {
            let value = match point.value.unwrap() {
                #[expect(clippy::cast_precision_loss, reason = "as the text is read")]
                number_data_point::Value::AsInt(number) => number as f64,
                number_data_point::Value::AsDouble(number) => number,
            };
            let before = all.insert((name.clone(), labels(&point.attributes)), value);
            assert_eq!(before, None, "{name} is there twice");
        }
    }
    all
}

fn labels(
    attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
) -> Vec<(String, String)> {
    let mut labels: Vec<_> =
        attributes.iter().map(|a| (a.key.clone(), attribute(attributes, &a.key))).collect();
    labels.sort();
    labels
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_the_metrics_of_the_metrics_page() {
    let (collector, sink) = (Collector::start().await, Sink::start().await);
    let hub = busy(&collector, &sink, "traces = false\nlogs = false\ninterval = \"1s\"")
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=hooks,deployment=test")
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    sink.until_received(3).await;
    // What moves between two looks at a quiet hub.
    let moves = |name: &str| {
        name.starts_with("process_")
            || name.starts_with("weir_uptime")
            || name.starts_with("weir_telemetry")
            || name.starts_with("weir_connections")
    };
    until("the same numbers in both", async || {
        let page = hub.metric_lines(&[]).await.join("\n") + "\n";
        let page = strict_parser::read(&page, false)?;
        let of_page: BTreeMap<_, _> = page
            .series
            .into_iter()
            .filter(|((name, _), _)| !name.ends_with("_bucket") && !moves(name))
            .collect();
        let exported: BTreeMap<_, _> =
            numbers(&collector).into_iter().filter(|((name, _), _)| !moves(name)).collect();
        let differs = of_page.iter().find(|(key, value)| exported.get(*key) != Some(value));
        match differs {
            None if of_page.len() == exported.len() => Ok(()),
            None => Err(format!("{} and {}", of_page.len(), exported.len())),
            Some(differs) => Err(format!("{differs:?}")),
        }
    })
    .await;
    let resource = collector.resource().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name"), "hooks");
    assert_eq!(attribute(&resource.attributes, "deployment"), "test");
    assert!(collector.spans().is_empty() && collector.logs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_exported_and_flushed_at_the_end() {
    let (collector, sink) = (Collector::start().await, Sink::start().await);
    let hub = TestHub::new()
        .github()
        .destination("ops", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"ops\"")
        .replace("format = \"json\"", "format = \"json\"\nlevel = \"debug\"")
        .file("token", "Bearer of a token")
        .config(&collector.config("headers = { authorization = { file = \"token\" } }"))
        .start()
        .await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    assert_eq!(hub.stop().await, 0);
    let logs = collector.logs();
    let find = |text: &str| {
        let body =
            |log: &opentelemetry_proto::tonic::logs::v1::LogRecord| format!("{:?}", log.body);
        logs.iter().find(|log| body(log).contains(text)).cloned()
    };
    assert_eq!(find("ready").unwrap().severity_text, "INFO");
    let stored = find("event stored").unwrap();
    assert_eq!(attribute(&stored.attributes, "source"), "github");
    // The hub's own records only, or its requests to the collector would cause further ones.
    let modules: Vec<_> =
        logs.iter().map(|log| attribute(&log.attributes, "code.namespace")).collect();
    assert!(modules.iter().all(|module| module.starts_with("weir")), "{modules:?}");
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "the spans of the request, the send and its settlement: {spans:?}");
    assert_eq!(find("message sent").unwrap().trace_id, spans[0].trace_id);
    for (path, headers) in collector.requests() {
        assert_eq!(headers["authorization"], "Bearer of a token", "{path}");
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_variables_switch_the_export_on() {
    let collector = Collector::start().await;
    let hub = TestHub::new()
        .github()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_LOGS_EXPORTER", "none")
        .start()
        .await;
    hub.push("push", "one", b"{}").await.accepted();
    assert_eq!(hub.stop().await, 0);
    assert_eq!(collector.spans().len(), 1);
    assert!(collector.logs().is_empty() && !collector.newest_metrics().is_empty());
}
