//! A collector in the test: an HTTP server that decodes the messages of OTLP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

/// The status by which the collector gives no answer at all.
pub(super) const HANG: u16 = 1;

/// A collector on its own port.
#[derive(Clone)]
pub(super) struct Collector {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Status of every answer; 0 means 200.
    status: AtomicU16,
    requests: Mutex<Vec<(String, HeaderMap)>>,
    traces: Mutex<Vec<ExportTraceServiceRequest>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    logs: Mutex<Vec<ExportLogsServiceRequest>>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::<Inner>::default();
        let shared = inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = shared.clone();
                let service = service_fn(move |request| receive(inner.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, inner }
    }

    /// The configuration of a hub that exports to it, with further settings.
    pub(super) fn config(&self, more: &str) -> String {
        format!("[telemetry.otlp]\nendpoint = \"http://{}\"\n{more}", self.address)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the status of every answer.
    pub(super) fn answers(&self, status: u16) {
        self.inner.status.store(status, Ordering::Release);
    }

    /// The paths and headers of all requests.
    pub(super) fn requests(&self) -> Vec<(String, HeaderMap)> {
        self.inner.requests.lock().unwrap().clone()
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let requests = self.inner.traces.lock().unwrap();
        let scopes = requests.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    pub(super) fn logs(&self) -> Vec<LogRecord> {
        let requests = self.inner.logs.lock().unwrap();
        let scopes = requests.iter().flat_map(|r| &r.resource_logs).flat_map(|r| &r.scope_logs);
        scopes.flat_map(|scope| scope.log_records.clone()).collect()
    }

    /// The metrics of the newest request.
    pub(super) fn newest_metrics(&self) -> Vec<Metric> {
        let requests = self.inner.metrics.lock().unwrap();
        let newest = requests.last().into_iter().flat_map(|r| &r.resource_metrics);
        newest.flat_map(|r| &r.scope_metrics).flat_map(|s| s.metrics.clone()).collect()
    }

    /// The facts about the process in the newest request with metrics.
    pub(super) fn resource(&self) -> Option<Resource> {
        let requests = self.inner.metrics.lock().unwrap();
        requests.last()?.resource_metrics.first()?.resource.clone()
    }
}

async fn receive(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    inner.requests.lock().unwrap().push((path.clone(), head.headers));
    match inner.status.load(Ordering::Acquire) {
        0 => {}
        HANG => std::future::pending::<()>().await,
        status => return Ok(Response::builder().status(status).body(Full::default()).unwrap()),
    }
    match path.as_str() {
        "/v1/traces" => inner.traces.lock().unwrap().push(Message::decode(body).unwrap()),
        "/v1/metrics" => inner.metrics.lock().unwrap().push(Message::decode(body).unwrap()),
        "/v1/logs" => inner.logs.lock().unwrap().push(Message::decode(body).unwrap()),
        other => panic!("{other}"),
    }
    Ok(Response::new(Full::default()))
}

/// The text of an attribute; empty if it is absent.
pub(super) fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.clone()?.value) {
        Some(any_value::Value::StringValue(text)) => text,
        _ => String::new(),
    }
}
