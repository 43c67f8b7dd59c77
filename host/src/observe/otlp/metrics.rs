//! Metrics as OTLP messages, from the same values as `/metrics`. Pure.

use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::encode::{attribute, nanos, scope};
use crate::observe::exposition::{MetricInfo, MetricKind};
use crate::observe::families::{MetricFamily, MetricPoint, Number, PointValue};
use crate::observe::series::Example;
use crate::runtime::clock;

/// The time that points are about.
#[derive(Debug, Clone, Copy)]
struct Period {
    start: u64,
    now: u64,
}

/// All families as one message. Counts are since `started`.
pub(super) fn request(
    resource: &Resource,
    families: &[MetricFamily],
    started: SystemTime,
) -> ExportMetricsServiceRequest {
    let period = Period { start: nanos(started), now: nanos(clock::precise()) };
    let filled = families.iter().filter(|family| !family.series.is_empty());
    let metrics = filled.map(|family| metric_of(family, period)).collect();
    let scope_metrics = ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric_of(family: &MetricFamily, period: Period) -> Metric {
    let info = &family.metric;
    let temporality = AggregationTemporality::Cumulative.into();
    let numbers = || family.series.iter().filter_map(|p| number(info, p, period)).collect();
    let data = match info.kind {
        MetricKind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        MetricKind::Counter => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        MetricKind::Histogram => metric::Data::Histogram(Histogram {
            data_points: family.series.iter().filter_map(|p| durations(info, p, period)).collect(),
            aggregation_temporality: temporality,
        }),
    };
    let unit = match info.unit() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    };
    Metric {
        name: info.name.to_owned(),
        description: info.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn labels(info: &MetricInfo, point: &MetricPoint) -> Vec<KeyValue> {
    let labels = info.labels.iter().zip(&point.labels);
    labels.map(|(name, value)| attribute(name, value.clone())).collect()
}

fn number(info: &MetricInfo, point: &MetricPoint, period: Period) -> Option<NumberDataPoint> {
    let PointValue::Number(number) = point.value else { return None };
    let value = match number {
        Number::Whole(number) => match i64::try_from(number) {
            Ok(number) => number_data_point::Value::AsInt(number),
            // "No limit" is the largest number.
            Err(_) => number_data_point::Value::AsInt(i64::MAX),
        },
        Number::Float(number) => number_data_point::Value::AsDouble(number),
    };
    Some(NumberDataPoint {
        attributes: labels(info, point),
        start_time_unix_nano: if info.kind == MetricKind::Gauge { 0 } else { period.start },
        time_unix_nano: period.now,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn durations(info: &MetricInfo, point: &MetricPoint, period: Period) -> Option<HistogramDataPoint> {
    let PointValue::Durations { sum, buckets } = &point.value else { return None };
    let examples = buckets.iter().filter_map(|(_, _, example)| example.as_ref());
    Some(HistogramDataPoint {
        attributes: labels(info, point),
        start_time_unix_nano: period.start,
        time_unix_nano: period.now,
        count: buckets.iter().map(|(_, count, _)| count).sum(),
        sum: Some(*sum),
        bucket_counts: buckets.iter().map(|(_, count, _)| *count).collect(),
        explicit_bounds: buckets.iter().map(|(end, ..)| *end).filter(|e| e.is_finite()).collect(),
        exemplars: examples.map(exemplar_of).collect(),
        ..HistogramDataPoint::default()
    })
}

fn exemplar_of(example: &Example) -> Exemplar {
    Exemplar {
        time_unix_nano: nanos(example.at),
        trace_id: example.trace.bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(example.seconds)),
        ..Exemplar::default()
    }
}
