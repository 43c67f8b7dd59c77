//! Spans of the stages of an event: `ingress`, `run`, `send` and `settle`, with the ids by which
//! they form one trace.
//!
//! A stage begins a span only while traces are exported and the trace is sampled; otherwise it
//! costs one comparison. A finished span goes into a bounded queue and never waits. Not here: the
//! format in which spans leave the hub.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use weir_core::trace::{SpanId, TraceContext, TraceId};

use super::series::Counter;
use crate::runtime::clock;

/// Finished spans that wait for their export; further ones are dropped and counted.
const WAITING_MAX: usize = 8_192;

/// A stage of the path of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Ingress,
    Run,
    Send,
    Settle,
}

impl Stage {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Run => "run",
            Self::Send => "send",
            Self::Settle => "settle",
        }
    }
}

/// A fact about a span.
pub type SpanFact = (&'static str, Cow<'static, str>);

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct FinishedSpan {
    pub stage: Stage,
    /// Its trace and its own id.
    pub context: TraceContext,
    pub parent: Option<SpanId>,
    /// True if the parent is a span of the sender.
    pub parent_is_remote: bool,
    pub started: SystemTime,
    pub took: Duration,
    pub facts: Vec<SpanFact>,
    /// The code of the failure, if the stage failed.
    pub failure: Option<&'static str>,
}

/// A span that has begun. It is exported only if it is ended.
#[derive(Debug)]
pub struct OpenSpan {
    context: TraceContext,
    parent: Option<SpanId>,
    parent_is_remote: bool,
    started: SystemTime,
    watch: Instant,
}

impl OpenSpan {
    /// The trace, with this span as the cause of what comes next.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }
}

/// The end of the queue at which finished spans come out.
pub type FinishedSpans = mpsc::Receiver<FinishedSpan>;

/// Begins and ends spans. Cheap to clone. The default exports nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    finished: mpsc::Sender<FinishedSpan>,
    dropped: Arc<Counter>,
    /// A new trace is sampled if a random number is at most this; none samples no new trace.
    sample_below: Option<u64>,
    random: Mutex<StdRng>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.0.is_some()).finish()
    }
}

impl Tracer {
    /// A tracer that samples this share of new traces, and the queue of its finished spans.
    /// `dropped` counts those above the limit.
    #[must_use]
    pub fn new(sample: f64, seed: [u8; 32], dropped: Arc<Counter>) -> (Self, FinishedSpans) {
        let (finished, spans) = mpsc::channel(WAITING_MAX);
        let inner = Inner {
            finished,
            dropped,
            sample_below: sample_below(sample),
            random: Mutex::new(StdRng::from_seed(seed)),
        };
        (Self(Some(Arc::new(inner))), spans)
    }

    /// Begins the span of a request. It continues the sender's trace, or begins a new one; none if
    /// that is not sampled.
    #[must_use]
    pub fn receive(&self, sender: Option<TraceContext>) -> Option<OpenSpan> {
        let inner = self.0.as_ref()?;
        match sender {
            Some(sender) => inner.child_of(sender, true),
            None => {
                let (trace, chance) = {
                    let mut random = inner.random.lock();
                    (random.random::<[u8; 16]>(), random.random::<u64>())
                };
                inner.sample_below.filter(|below| chance <= *below)?;
                let context = TraceContext::begin(TraceId::new(trace)?, inner.span_id()?, true);
                Some(open(context, None, false))
            }
        }
    }

    /// Begins a span below another one of the hub; none if the trace is unknown or not sampled.
    #[must_use]
    pub fn child(&self, parent: Option<TraceContext>) -> Option<OpenSpan> {
        self.0.as_ref()?.child_of(parent?, false)
    }

    /// Ends a span. It is dropped if the queue is full.
    pub fn end(
        &self,
        span: Option<OpenSpan>,
        stage: Stage,
        failure: Option<&'static str>,
        facts: impl FnOnce() -> Vec<SpanFact>,
    ) {
        let (Some(inner), Some(span)) = (&self.0, span) else { return };
        let OpenSpan { context, parent, parent_is_remote, started, watch } = span;
        let finished = FinishedSpan {
            stage,
            context,
            parent,
            parent_is_remote,
            started,
            took: watch.elapsed(),
            facts: facts(),
            failure,
        };
        if inner.finished.try_send(finished).is_err() {
            inner.dropped.inc();
        }
    }
}

impl Inner {
    fn child_of(&self, parent: TraceContext, is_remote: bool) -> Option<OpenSpan> {
        if !parent.is_sampled() {
            return None;
        }
        let context = parent.continued_by(self.span_id()?);
        Some(open(context, Some(parent.span), is_remote))
    }

    /// A random id. None once in 2^64 times, because zero is not an id.
    fn span_id(&self) -> Option<SpanId> {
        SpanId::new(self.random.lock().random())
    }
}

fn open(context: TraceContext, parent: Option<SpanId>, parent_is_remote: bool) -> OpenSpan {
    let (started, watch) = (clock::precise(), Instant::now());
    OpenSpan { context, parent, parent_is_remote, started, watch }
}

/// The largest random number that samples a trace, so that this share of all numbers does.
fn sample_below(share: f64) -> Option<u64> {
    const STEPS: u64 = 1_000_000;
    let steps = (0..=STEPS).rev().find(|n| {
        // Both numbers are exact in a float.
        f64::from(u32::try_from(*n).unwrap_or(0)) / 1_000_000.0 <= share
    })?;
    (steps > 0)
        .then(|| (u64::MAX / STEPS).saturating_mul(steps))
        .map(|below| if steps == STEPS { u64::MAX } else { below })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(sample: f64) -> (Tracer, FinishedSpans, Arc<Counter>) {
        let dropped = Arc::<Counter>::default();
        let (tracer, spans) = Tracer::new(sample, [1; 32], dropped.clone());
        (tracer, spans, dropped)
    }

    fn sender(flags: &str) -> Option<TraceContext> {
        let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        TraceContext::read(text.as_bytes())
    }

    #[test]
    fn a_stage_continues_the_trace_of_the_stage_before_it() {
        let (tracer, mut spans, _) = tracer(0.0);
        let ingress = tracer.receive(sender("01")).unwrap();
        let run = tracer.child(Some(ingress.context())).unwrap();
        assert_eq!(run.parent, Some(ingress.context().span));
        assert_eq!(run.context.trace, sender("01").unwrap().trace);
        tracer.end(Some(run), Stage::Run, None, Vec::new);
        assert!(!spans.try_recv().unwrap().parent_is_remote);
        assert_eq!(ingress.parent, Some(sender("01").unwrap().span));
    }

    #[test]
    fn a_trace_that_the_sender_does_not_sample_has_no_spans() {
        let (tracer, _spans, _) = tracer(1.0);
        assert!(tracer.receive(sender("00")).is_none());
        assert!(tracer.child(sender("00")).is_none());
        assert!(tracer.child(None).is_none(), "only a request begins a trace");
        assert!(Tracer::default().receive(sender("01")).is_none(), "nothing is exported");
    }

    #[test]
    fn about_the_configured_share_of_new_traces_is_sampled() {
        for (share, from, to) in [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1_000, 1_000)] {
            let (tracer, _spans, _) = tracer(share);
            let sampled = (0..1_000).filter(|_| tracer.receive(None).is_some()).count();
            assert!((from..=to).contains(&sampled), "{share}: {sampled}");
        }
    }

    #[test]
    fn spans_above_the_limit_are_counted_and_dropped() {
        let (tracer, _spans, dropped) = tracer(1.0);
        for _ in 0..WAITING_MAX + 3 {
            tracer.end(tracer.receive(None), Stage::Ingress, None, Vec::new);
        }
        assert_eq!(dropped.get(), 3);
    }
}
