//! Spans and log records as OTLP messages. Pure.

use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use tracing::Level;

use crate::observe::tracer::{FinishedSpan, Stage};
use crate::runtime::log_export::{ExportedRecord, TRACE_FIELD};

/// The bits of a span's flags that say whether its parent is known to be remote, and is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The facts about this process.
pub(super) fn resource(facts: &[(String, String)]) -> Resource {
    let attributes = facts.iter().map(|(name, value)| attribute(name, value.clone())).collect();
    Resource { attributes, ..Resource::default() }
}

/// The name of the program that recorded something.
pub(super) fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "weir".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    })
}

pub(super) fn attribute(name: &str, value: impl Into<String>) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(text(value)), ..KeyValue::default() }
}

fn text(value: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.into())) }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn spans(resource: &Resource, batch: Vec<FinishedSpan>) -> ExportTraceServiceRequest {
    let spans = batch.into_iter().map(span).collect();
    let scope_spans = ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }],
    }
}

fn span(span: FinishedSpan) -> Span {
    let FinishedSpan { stage, context, parent, parent_is_remote, started, took, facts, failure } =
        span;
    let kind = match stage {
        Stage::Ingress => SpanKind::Server,
        Stage::Run => SpanKind::Consumer,
        Stage::Send => SpanKind::Client,
        Stage::Settle => SpanKind::Internal,
    };
    let status =
        failure.map(|code| Status { message: code.to_owned(), code: StatusCode::Error.into() });
    let remote = if parent_is_remote { IS_REMOTE } else { 0 };
    let start = nanos(started);
    Span {
        trace_id: context.trace.bytes().to_vec(),
        span_id: context.span.bytes().to_vec(),
        parent_span_id: parent.map(|id| id.bytes().to_vec()).unwrap_or_default(),
        // Only sampled spans are exported.
        flags: 1 | HAS_IS_REMOTE | remote,
        name: stage.as_str().to_owned(),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(0)),
        attributes: facts.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        status,
        ..Span::default()
    }
}

pub(super) fn logs(resource: &Resource, batch: Vec<ExportedRecord>) -> ExportLogsServiceRequest {
    let log_records = batch.into_iter().map(record).collect();
    let scope_logs = ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource.clone()),
            scope_logs: vec![scope_logs],
            ..ResourceLogs::default()
        }],
    }
}

fn record(record: ExportedRecord) -> LogRecord {
    let ExportedRecord { at, level, message, module, fields } = record;
    let severity = match level {
        Level::ERROR => SeverityNumber::Error,
        Level::WARN => SeverityNumber::Warn,
        Level::INFO => SeverityNumber::Info,
        Level::DEBUG => SeverityNumber::Debug,
        Level::TRACE => SeverityNumber::Trace,
    };
    let trace = fields.iter().find(|(name, _)| *name == TRACE_FIELD);
    let trace_id = trace.and_then(|(_, id)| hex::decode(id).ok()).filter(|id| id.len() == 16);
    let mut attributes = vec![attribute("code.namespace", module)];
    attributes.extend(fields.into_iter().map(|(name, value)| attribute(name, value)));
    LogRecord {
        time_unix_nano: nanos(at),
        observed_time_unix_nano: nanos(at),
        severity_number: severity.into(),
        severity_text: level.as_str().to_owned(),
        body: Some(text(message)),
        attributes,
        trace_id: trace_id.unwrap_or_default(),
        ..LogRecord::default()
    }
}
