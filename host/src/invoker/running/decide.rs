//! Decides what follows from the report of a run: the attempt to record, the delivery's next state,
//! and the effects with their routes. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_core::bounds::{DESCENDANTS_MAX, RETRY_AFTER_SECONDS_MAX};
use weir_core::delivery::{self, NextState, OnBlocked, Outcome, Verdict};
use weir_core::effect::{Effects, EmittedEvent, Message, MessageContent};
use weir_core::event::EventFacts;
use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::payload::Payload;
use weir_core::retry::RetryPolicy;
use weir_core::route::RouteTable;
use weir_core::state::{StateQuota, StateSize};
use weir_core::time::Timestamp;
use weir_core::trace::{TraceContext, stored_trace};
use weir_engine::{LogLevel, LogLine, RunLog, RunReport, Version};
use weir_store::settle::NewReads;
use weir_store::{
    AttemptRecord, Claim, NewEmit, NewMessage, NewReply, OtherRun, RoutedEffects, Settlement,
};

use super::responder_policy::{REPLY_HEADERS, without_forbidden_headers};
use crate::routing;

/// The longest wait that a handler may ask for. Its retry policy may have shorter ones.
const WAIT_MAX: Duration = Duration::from_secs(RETRY_AFTER_SECONDS_MAX as u64);

/// The input of a decision, beside the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunContext<'a> {
    pub(crate) claim: &'a Claim,
    /// The trace with the span of the run, if it has one.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) handler: &'a HandlerName,
    pub(crate) version: Version,
    /// The run under another version in the same attempt.
    pub(crate) other: Option<&'a OtherRun>,
    pub(crate) started_at: Timestamp,
    pub(crate) policy: &'a RetryPolicy,
    /// The quota of the handler's state.
    pub(crate) quota: StateQuota,
    pub(crate) routes: &'a RouteTable,
    /// The fate of an event that cannot be handled while others wait behind it in its order.
    pub(crate) on_blocked: OnBlocked,
    /// The destinations whose messages keep the order of the events that were handled.
    pub(crate) ordered: &'a BTreeSet<DestinationName>,
    /// The time for which a reply is kept; none if the handler is not to reply.
    pub(crate) keeps_reply: Option<Duration>,
    /// The record of what the run read.
    pub(crate) reads: Option<&'a NewReads>,
}

/// The settlement of a finished run.
pub(crate) fn decide(
    context: RunContext<'_>,
    mut report: RunReport,
    random: &mut impl Rng,
) -> Settlement {
    let RunContext { claim, policy, .. } = context;
    let attempt = claim.fence.attempt;
    let reply = reply(&mut report, context.keeps_reply);
    carry_hops(&mut report.effects.emits, claim.event.payload.hops());
    carry_trace(&mut report.effects, &claim.event.payload, context.trace);
    let mut next = delivery::decide(report.verdict(), attempt, policy, WAIT_MAX, random);
    if claim.is_ordered() {
        next = delivery::at_the_head(next, context.on_blocked, policy.longest());
    }
    let record = AttemptRecord {
        started_at: context.started_at,
        duration: report.duration,
        outcome: report.outcome(),
        reason: report.reason().map(Into::into),
        version: Some(context.version.0),
        other: context.other.cloned(),
        log: log_text(&report.log),
        response: None,
        reads: context.reads.cloned(),
    };
    let effects = match next {
        NextState::Processed => routed(report.effects, reply, context),
        NextState::Retry { .. } | NextState::DeadLetter => RoutedEffects::default(),
    };
    Settlement {
        delivery: claim.delivery,
        fence: claim.fence,
        attempt: record,
        next,
        effects,
        reads: report.reads,
        quota: context.quota,
    }
}

/// The settlement of a run whose own settlement the store refuses as invalid: a failure of the hub,
/// without effects.
pub(crate) fn impossible(
    settlement: Settlement,
    reason: &str,
    policy: &RetryPolicy,
    random: &mut impl Rng,
) -> Settlement {
    let again = Verdict::TryAgain { at_least: None };
    let attempt = settlement.fence.attempt;
    let next = delivery::decide(again, attempt, policy, WAIT_MAX, random);
    let reason = Some(format!("the store refused the run's effects: {reason}").into());
    let attempt = AttemptRecord { outcome: Outcome::Internal, reason, ..settlement.attempt };
    Settlement { attempt, next, effects: RoutedEffects::default(), ..settlement }
}

/// The settlement of a run whose writes would exceed the quota of its handler's state: a failure
/// without effects, which is retried, because a person may make room meanwhile.
pub(crate) fn state_full(
    settlement: Settlement,
    wanted: StateSize,
    policy: &RetryPolicy,
    random: &mut impl Rng,
) -> Settlement {
    let again = Verdict::TryAgain { at_least: None };
    let next = delivery::decide(again, settlement.fence.attempt, policy, WAIT_MAX, random);
    let StateQuota { bytes, keys } = settlement.quota;
    let reason = format!(
        "after this run its state would have {} bytes in {} keys, and may have {bytes} bytes in \
         {keys} keys; remove some with `weir handlers state`, or raise `state` or `state_keys` \
         under [limits]",
        wanted.bytes, wanted.keys
    );
    let outcome = Outcome::Refused;
    let attempt = AttemptRecord { outcome, reason: Some(reason.into()), ..settlement.attempt };
    Settlement { attempt, next, effects: RoutedEffects::default(), ..settlement }
}

/// The settlement of a run that emits more events than its line of events may have: a dead letter,
/// without effects.
pub(crate) fn exhausted(settlement: Settlement, descendants: u64) -> Settlement {
    let reason = format!(
        "this line of events has {descendants} of at most {DESCENDANTS_MAX} emitted events, and \
         this run asked for {} more; look for a circle of handlers, then replay",
        settlement.effects.emits.len()
    );
    let outcome = Outcome::DescendantsExhausted;
    let attempt = AttemptRecord { outcome, reason: Some(reason.into()), ..settlement.attempt };
    let effects = RoutedEffects::default();
    Settlement { attempt, next: NextState::DeadLetter, effects, ..settlement }
}

/// The reply to store. It is dropped if no sender gets it, so that a replay runs like the first
/// time.
fn reply(report: &mut RunReport, keep: Option<Duration>) -> Option<NewReply> {
    let (reply, removed) = without_forbidden_headers(report.effects.reply.take()?, keep?);
    for name in removed {
        let message = format!(
            "header `{name}` removed from the reply; allowed are content-type, {}",
            REPLY_HEADERS.join(", ")
        );
        report.log.lines.push(LogLine { level: LogLevel::Warn, message: message.into() });
    }
    Some(reply)
}

/// Gives emitted events the hop count of the event that was handled, so that a circle through
/// handlers and the network ends too.
fn carry_hops(emits: &mut [EmittedEvent], hops: u8) {
    if hops > 0 {
        for emit in emits {
            Arc::make_mut(&mut emit.payload).set_hops(hops);
        }
    }
}

/// Gives emitted events the trace of the event that was handled, and lets events and messages
/// continue the span of the run, if it has one.
fn carry_trace(effects: &mut Effects, handled: &Payload, run: Option<TraceContext>) {
    let Some(trace) = run.or_else(|| handled.trace()) else { return };
    let state = if effects.emits.is_empty() { None } else { handled.trace_state() };
    for emit in &mut effects.emits {
        Arc::make_mut(&mut emit.payload).join_trace(trace, state.as_deref());
    }
    // Without a span of the run, a message finds the trace at its event.
    let Some(run) = run else { return };
    for message in &mut effects.messages {
        match &mut message.content {
            MessageContent::Own(payload) => Arc::make_mut(payload).set_trace(run),
            MessageContent::Forward { headers } => headers.push(stored_trace(run)),
        }
    }
}

fn routed(effects: Effects, reply: Option<NewReply>, context: RunContext<'_>) -> RoutedEffects {
    let source = SourceName::emitted_by(context.handler);
    let (routes, at) = (context.routes, context.started_at);
    let emits = effects.emits.into_iter().map(|emit| routed_emit(emit, &source, routes, at));
    let messages = effects.messages.into_iter().map(|sent| message(sent, context.ordered));
    RoutedEffects {
        reply,
        cancels: effects.cancels,
        messages: messages.collect(),
        emits: emits.collect(),
        state: effects.state,
    }
}

fn message(message: Message, ordered: &BTreeSet<DestinationName>) -> NewMessage {
    let Message { id, destination, content, timing } = message;
    let delay = Duration::from_secs(timing.delay_seconds.into());
    let ordered = ordered.contains(&destination);
    NewMessage { id, destination, content, delay, key: timing.key, ordered }
}

fn routed_emit(
    emit: EmittedEvent,
    source: &SourceName,
    routes: &RouteTable,
    at: Timestamp,
) -> NewEmit {
    let EmittedEvent { id, kind, payload, timing } = emit;
    let facts = EventFacts { payload: Some(&payload), ..EventFacts::new(source, &kind, at) };
    let routed = routing::routed(routes, &facts);
    let delay = Duration::from_secs(timing.delay_seconds.into());
    NewEmit { id, kind, payload, delay, key: timing.key, routed }
}

/// The log as it is stored: each line with its level. A message of several lines becomes several
/// entries.
fn log_text(log: &RunLog) -> Option<Box<str>> {
    let mut text = String::new();
    let mut line = |level: &str, message: &str| {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(level);
        text.push('\t');
        text.push_str(message);
    };
    for entry in &log.lines {
        for part in entry.message.split('\n') {
            line(entry.level.as_str(), part);
        }
    }
    if log.truncated {
        line("warn", "(log truncated at its size limit)");
    }
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use weir_core::delivery::Fence;
    use weir_core::effect::{Reply, StateWrite, Timing};
    use weir_core::event::{Event, EventType};
    use weir_core::id::{DeliveryId, EventId, MessageId};
    use weir_core::name::{DestinationName, Target};
    use weir_core::retry::Backoff;
    use weir_core::route::{Pattern, Rule};
    use weir_core::state::ReadSet;
    use weir_core::trace::{SpanId, TraceId};
    use weir_engine::RunEnd;
    use weir_store::ClaimGuard;

    use super::*;

    fn orders() -> HandlerName {
        HandlerName::new("orders").unwrap()
    }

    fn claim(attempt: u32) -> Claim {
        let event = Event {
            id: EventId::from_bits(1),
            public_id: EventId::from_bits(1),
            source: SourceName::stored("github"),
            kind: EventType::new("push").unwrap(),
            category: None,
            delivery_id: None,
            received_at: Timestamp::from_millis(1),
            lineage: None,
            payload: Arc::new(Payload::default()),
        };
        Claim {
            delivery: DeliveryId::from_bits(3),
            target: Target::Handler(orders()),
            fence: Fence { generation: 0, attempt },
            event: Arc::new(event),
            message: None,
            now: Timestamp::from_millis(2),
            id_round: 0,
            order_key: None,
            suspect: false,
            guard: ClaimGuard::new(|| {}),
        }
    }

    fn effects() -> Effects {
        let payload = Arc::new(Payload::new("application/json", Bytes::from_static(b"{}")));
        Effects {
            messages: vec![Message {
                id: MessageId::from_bits(7),
                destination: DestinationName::new("ops").unwrap(),
                content: MessageContent::Own(payload.clone()),
                timing: Timing { delay_seconds: 90, key: Some("late".into()) },
            }],
            emits: vec![EmittedEvent {
                id: EventId::from_bits(8),
                kind: EventType::new("late").unwrap(),
                payload,
                timing: Timing::default(),
            }],
            cancels: vec![],
            state: vec![StateWrite { key: "n".into(), value: Some("1".into()), expires_at: None }],
            reply: None,
        }
    }

    fn report(end: RunEnd) -> RunReport {
        RunReport {
            end,
            effects: effects(),
            reads: ReadSet { keys: vec![("n".into(), None)], ..ReadSet::default() },
            values_read: vec![None],
            retry_after: None,
            log: RunLog::default(),
            duration: Duration::from_millis(3),
            memory_peak: 1,
        }
    }

    fn failed(outcome: Outcome, retryable: bool) -> RunEnd {
        RunEnd::Failed { outcome, retryable, reason: "because".into() }
    }

    fn policy() -> RetryPolicy {
        RetryPolicy::try_new(Backoff::List(vec![Duration::from_secs(10)]), 3, 0.0).unwrap()
    }

    fn decided(report: RunReport, attempt: u32) -> Settlement {
        decided_for(None, report, attempt)
    }

    fn decided_for(keeps_reply: Option<Duration>, report: RunReport, attempt: u32) -> Settlement {
        decided_of(&claim(attempt), keeps_reply, report)
    }

    fn decided_of(claim: &Claim, keeps_reply: Option<Duration>, report: RunReport) -> Settlement {
        let watching = |name: &str, pattern: &str| {
            let target = Target::Handler(HandlerName::new(name).unwrap());
            Rule::new(name, target, vec![Pattern::parse(pattern).unwrap()])
        };
        let routes = RouteTable::new([watching("watch", "@orders:late"), watching("all", "*:*")]);
        let context = RunContext {
            claim,
            trace: None,
            handler: &orders(),
            version: Version([7; 32]),
            other: None,
            started_at: Timestamp::from_millis(2),
            policy: &policy(),
            quota: StateQuota::NONE,
            routes: &routes,
            on_blocked: OnBlocked::Skip,
            ordered: &BTreeSet::new(),
            keeps_reply,
            reads: None,
        };
        decide(context, report, &mut StdRng::seed_from_u64(0))
    }

    #[test]
    fn a_successful_run_settles_with_its_effects() {
        let settlement = decided(report(RunEnd::Ok), 1);
        assert_eq!(settlement.next, NextState::Processed);
        assert_eq!(settlement.attempt.outcome, Outcome::Ok);
        assert_eq!(settlement.attempt.version, Some([7; 32]));
        let message = &settlement.effects.messages[0];
        assert_eq!((message.delay.as_secs(), message.key.as_deref()), (90, Some("late")));
        assert_eq!(settlement.effects.state.len(), 1);
    }

    #[test]
    fn emitted_events_are_routed_by_the_handlers_own_source() {
        let settlement = decided(report(RunEnd::Ok), 1);
        let routed = &settlement.effects.emits[0].routed;
        let targets: Vec<_> = routed.deliveries.iter().map(|d| d.target.to_string()).collect();
        assert_eq!(targets, ["handler:watch"], "a wildcard does not see it");
    }

    #[test]
    fn failures_have_no_effects_but_keep_their_reads() {
        let retry = NextState::Retry { delay: Duration::from_secs(10) };
        for (end, attempt, next) in [
            (failed(Outcome::Retry, true), 1, retry),
            (failed(Outcome::Crashed, true), 2, retry),
            (failed(Outcome::Timeout, true), 3, NextState::DeadLetter),
            (failed(Outcome::Reject, false), 1, NextState::DeadLetter),
            (failed(Outcome::Refused, false), 1, NextState::DeadLetter),
        ] {
            let settlement = decided(report(end.clone()), attempt);
            assert_eq!(settlement.next, next, "{end:?}");
            assert_eq!(settlement.attempt.reason.as_deref(), Some("because"));
            let effects = &settlement.effects;
            assert!(effects.messages.is_empty() && effects.emits.is_empty());
            assert!(effects.state.is_empty() && effects.cancels.is_empty());
            assert_eq!(settlement.reads.keys.len(), 1);
        }
    }

    #[test]
    fn a_reply_is_kept_for_responders_with_allowed_headers() {
        let replying = || {
            let mut report = report(RunEnd::Ok);
            let mut payload = Payload::new("application/json", Bytes::from_static(b"{}"));
            for name in ["retry-after", "set-cookie", "x-accel-redirect"] {
                payload.headers.push((name.into(), Bytes::from_static(b"1")));
            }
            report.effects.reply = Some(Reply { status: 201, payload });
            report
        };
        assert!(decided(replying(), 1).effects.reply.is_none());
        let hour = Duration::from_secs(3600);
        let settlement = decided_for(Some(hour), replying(), 1);
        let reply = settlement.effects.reply.unwrap();
        let names: Vec<_> = reply.payload.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!((reply.status, reply.keep), (201, hour));
        assert_eq!(names, ["content-type", "retry-after"]);
        let log = settlement.attempt.log.unwrap();
        assert!(log.contains("`set-cookie`") && log.contains("`x-accel-redirect`"), "{log}");
        let mut failing = replying();
        failing.end = failed(Outcome::Crashed, true);
        assert!(decided_for(Some(hour), failing, 1).effects.reply.is_none());
    }

    #[test]
    fn a_wait_asked_for_lengthens_the_planned_one() {
        let asked = |seconds| {
            let mut report = report(failed(Outcome::Retry, true));
            report.retry_after = Some(Duration::from_secs(seconds));
            decided(report, 1).next
        };
        assert_eq!(asked(3), NextState::Retry { delay: Duration::from_secs(10) });
        assert_eq!(asked(3_600), NextState::Retry { delay: Duration::from_secs(3_600) });
        assert_eq!(asked(999_999), NextState::Retry { delay: Duration::from_secs(86_400) });
    }

    #[test]
    fn an_invalid_settlement_is_an_internal_failure_without_effects() {
        let settlement = decided(report(RunEnd::Ok), 1);
        let random = &mut StdRng::seed_from_u64(0);
        let settlement = impossible(settlement, "key is empty", &policy(), random);
        assert_eq!(settlement.attempt.outcome, Outcome::Internal);
        assert!(settlement.attempt.reason.unwrap().ends_with("key is empty"));
        assert!(settlement.effects.messages.is_empty() && settlement.effects.state.is_empty());
        assert_eq!(settlement.next, NextState::Retry { delay: Duration::from_secs(10) });
    }

    #[test]
    fn emitting_past_the_limit_of_a_line_is_a_dead_letter() {
        let settlement = exhausted(decided(report(RunEnd::Ok), 1), 10_000);
        assert_eq!(settlement.next, NextState::DeadLetter);
        assert_eq!(settlement.attempt.outcome, Outcome::DescendantsExhausted);
        let reason = settlement.attempt.reason.unwrap();
        assert!(reason.contains("10000 of at most 10000") && reason.contains("1 more"), "{reason}");
        assert!(settlement.effects.emits.is_empty() && settlement.effects.state.is_empty());
        assert_eq!(settlement.reads.keys.len(), 1);
    }

    #[test]
    fn effects_continue_the_run_and_else_the_trace_of_the_event() {
        let span = |byte| SpanId::new([byte; 8]).unwrap();
        let trace = TraceContext::begin(TraceId::new([9; 16]).unwrap(), span(1), true);
        let mut handled = Payload::default();
        handled.set_trace(trace);
        let carried = |run: Option<TraceContext>| {
            let mut effects = effects();
            carry_trace(&mut effects, &handled, run);
            let MessageContent::Own(message) = &effects.messages[0].content else {
                panic!("a message of its own")
            };
            (effects.emits[0].payload.trace(), message.trace())
        };
        assert_eq!(carried(None), (Some(trace), None), "the message has its event's trace");
        let run = Some(trace.continued_by(span(2)));
        assert_eq!(carried(run), (run, run));
        let mut untraced = effects();
        carry_trace(&mut untraced, &Payload::default(), None);
        assert_eq!(untraced, effects());
    }

    #[test]
    fn emitted_events_carry_the_hop_count() {
        let hops = |came: u8| {
            let mut claim = claim(1);
            let mut payload = Payload::default();
            payload.set_hops(came);
            Arc::make_mut(&mut claim.event).payload = Arc::new(payload);
            decided_of(&claim, None, report(RunEnd::Ok)).effects.emits[0].payload.hops()
        };
        assert_eq!((hops(0), hops(7)), (0, 7));
    }

    #[test]
    fn each_line_of_a_log_has_its_level() {
        let line = |level, message: &str| LogLine { level, message: message.into() };
        let lines = vec![line(LogLevel::Info, "one"), line(LogLevel::Error, "two\nthree")];
        let text = log_text(&RunLog { lines, truncated: true }).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], ["info\tone", "error\ttwo", "error\tthree"]);
        assert!(lines[3].starts_with("warn\t(log truncated"));
        assert_eq!(log_text(&RunLog::default()), None);
    }
}
