//! Posts requests to the collector: retries, counts, and reports what was dropped.
//!
//! The collector is the operator's own, so the guard on addresses does not apply.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{OtlpSettings, OtlpTarget};
use crate::observe::metrics::{Metrics, Signal};
use crate::runtime::log_export::EXPORT;
use crate::tls::roots::{self, RootsError};

/// Tries of one request.
const TRIES: u32 = 3;
/// The wait after the first failure, four times as long after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a collector may ask for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between two records of the log about dropped data.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// An unused connection is closed after this time: longer than between two exports.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// Posts the requests of one signal.
pub(super) struct Poster {
    signal: Signal,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    headers: HeaderMap,
    timeout: Duration,
    metrics: Metrics,
    /// The reason of the last failure, until it is reported.
    failed: Option<String>,
    /// Dropped records when this was last reported.
    reported: (u64, Option<Instant>),
}

impl fmt::Debug for Poster {
    /// Without the URL and the headers, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("signal", &self.signal).finish_non_exhaustive()
    }
}

/// A try that failed.
struct Failure {
    reason: String,
    /// The wait before the next try; none if another try cannot help.
    again: Option<Option<Duration>>,
}

impl Poster {
    pub(super) fn new(
        signal: Signal,
        target: &OtlpTarget,
        settings: &OtlpSettings,
        metrics: Metrics,
    ) -> Result<Self, RootsError> {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(roots::client(&settings.trust)?)
            .https_or_http()
            .enable_all_versions()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .build(https);
        let mut headers = target.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static("Weir/0.1"));
        Ok(Self {
            signal,
            client,
            url: target.url.clone(),
            headers,
            timeout: settings.timeout,
            metrics,
            failed: None,
            reported: (0, None),
        })
    }

    /// Posts a request with this number of records, and tries again a few times. While the hub
    /// stops, one try is made.
    pub(super) async fn post(
        &mut self,
        message: impl Message,
        records: usize,
        stop: &CancellationToken,
    ) {
        let body = Bytes::from(message.encode_to_vec());
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        let mut wait = FIRST_WAIT;
        for tried in 1..=TRIES {
            match self.post_once(body.clone()).await {
                Ok(rejected) => {
                    let rejected = rejected.min(records);
                    self.metrics.exported(self.signal).exported.add(records - rejected);
                    return self.drop_records(rejected);
                }
                Err(Failure { reason, again }) => {
                    self.failed = Some(reason);
                    let Some(asked) = again.filter(|_| tried < TRIES) else { break };
                    let pause = asked.unwrap_or(wait).min(WAIT_MAX);
                    let stopped = tokio::select! {
                        () = sleep(pause) => false,
                        () = stop.cancelled() => true,
                    };
                    if stopped && tried > 1 {
                        break;
                    }
                    wait *= 4;
                }
            }
        }
        self.drop_records(records);
    }

    /// Counts dropped records.
    pub(super) fn drop_records(&self, count: u64) {
        self.metrics.exported(self.signal).dropped.add(count);
    }

    /// Logs once a minute that records were dropped.
    pub(super) fn report(&mut self) {
        let dropped = self.metrics.exported(self.signal).dropped.get();
        let (known, at) = self.reported;
        if dropped == known || at.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            return;
        }
        self.reported = (dropped, Some(Instant::now()));
        let reason = self.failed.take().unwrap_or_else(|| "the queue was full".to_owned());
        tracing::warn!(
            target: EXPORT,
            signal = self.signal.as_str(),
            dropped = dropped - known,
            collector = self.url.host().unwrap_or_default(),
            reason,
            "telemetry was dropped: check telemetry.otlp and the collector; webhooks are not affected"
        );
    }

    /// The number of records that the collector rejected.
    async fn post_once(&self, body: Bytes) -> Result<u64, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| {
                let mut reason = error.to_string();
                let mut cause = error.source();
                while let Some(error) = cause {
                    reason = error.to_string();
                    cause = error.source();
                }
                Failure { reason: format!("not reached: {reason}"), again: Some(None) }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            judge(head.status, &head.headers, body)
        };
        let late = |_| Failure {
            reason: format!("no answer within {} s", self.timeout.as_secs_f32()),
            again: Some(None),
        };
        timeout(self.timeout, exchange).await.map_err(late)?
    }
}

/// The meaning of an answer, by the specification of OTLP.
fn judge(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Result<u64, Failure> {
    if status.is_success() {
        // The three signals have answers of the same form.
        let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        return Ok(u64::try_from(rejected).unwrap_or(0));
    }
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let can_pass = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    Err(Failure {
        reason: format!("answered {}", status.as_u16()),
        again: can_pass.then(|| asked.map(Duration::from_secs)),
    })
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceResponse,
    };

    use super::*;

    #[test]
    fn an_answer_is_judged_by_the_specification() {
        let judged = |status: u16, headers: &HeaderMap, body: &[u8]| {
            judge(StatusCode::from_u16(status).unwrap(), headers, Bytes::copy_from_slice(body))
        };
        let none = HeaderMap::new();
        assert_eq!(judged(200, &none, b"").ok(), Some(0));
        let partial = ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: 3,
                error_message: "too old".to_owned(),
            }),
        };
        assert_eq!(judged(200, &none, &partial.encode_to_vec()).ok(), Some(3));
        for status in [400, 401, 404, 500] {
            assert!(judged(status, &none, b"").is_err_and(|f| f.again.is_none()), "{status}");
        }
        let mut later = HeaderMap::new();
        later.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        for status in [429, 502, 503, 504] {
            let again = judged(status, &later, b"").err().and_then(|f| f.again);
            assert_eq!(again, Some(Some(Duration::from_secs(7))), "{status}");
        }
    }
}
