//! The cost of traces and of learned fields for one event, in nanoseconds: while nothing is
//! exported, and while spans are. `cargo bench -p weir --bench telemetry` prints it.

#![expect(clippy::print_stdout, reason = "a bench prints its results")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weir::observe::series::Counter;
use weir::observe::shapes::Shapes;
use weir::observe::tracer::{OpenSpan, Stage, Tracer};
use weir_core::event::EventType;
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::TableHash;
use weir_store::{NewEvent, NewRequest, Routed};

const ROUNDS: u32 = 200_000;
const SENDER: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn time(what: &str, mut work: impl FnMut()) {
    for _ in 0..ROUNDS / 10 {
        work();
    }
    let watch = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    println!("{what:<58} {:>7.1} ns", watch.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
}

/// A payload with as many headers as a provider sends.
fn payload(trace: bool) -> Payload {
    let mut payload = Payload::new("application/json", Bytes::from_static(b"{\"n\":1}"));
    for n in 0..12 {
        payload.headers.push((format!("x-header-{n}").into(), Bytes::from_static(b"some value")));
    }
    if trace {
        payload.headers.push(("traceparent".into(), Bytes::from_static(SENDER)));
    }
    payload
}

/// The spans of an event with one run and one send, and what is stored of its trace.
fn event(tracer: &Tracer, payload: &Payload) {
    let ingress = tracer.receive(payload.trace());
    let trace = ingress.as_ref().map(OpenSpan::context).or_else(|| payload.trace());
    for stage in [Stage::Run, Stage::Send] {
        let span = tracer.child(trace);
        let settle = tracer.child(span.as_ref().map(OpenSpan::context));
        tracer.end(span, stage, None, Vec::new);
        tracer.end(settle, Stage::Settle, None, Vec::new);
    }
    tracer.end(ingress, Stage::Ingress, None, Vec::new);
    black_box(trace);
}

fn main() {
    let (plain, traced) = (payload(false), payload(true));
    let off = Tracer::default();
    time("no export, no trace", || event(&off, &plain));
    time("no export, a sender's trace", || event(&off, &traced));
    let (on, mut spans) = Tracer::new(1.0, [1; 32], Arc::<Counter>::default());
    time("export of five spans", || {
        event(&on, &traced);
        while spans.try_recv().is_ok() {}
    });
    let shapes = Shapes::default();
    let request = NewRequest {
        source: SourceName::stored("github"),
        scheme: "sha256".into(),
        secret: "github".into(),
        remote: None,
        payload: plain,
        on_redelivery: OnRedelivery::Duplicate,
        events: EventType::new("push").map(of).into_iter().collect(),
    };
    time("fields not watched", || drop(black_box(shapes.sample(&request))));
}

fn of(kind: EventType) -> NewEvent {
    let routed = Routed { table: TableHash([0; 16]), decisions: "".into(), deliveries: Vec::new() };
    let (dedup, part, keys) = (None, None, Vec::new());
    NewEvent { kind, category: None, delivery_id: None, dedup, part, keys, routed }
}
