//! What a run's report means: the attempt to record, what becomes of the delivery, and effects with their routes.
//! Pure.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_core::bounds::{DESCENDANTS_MAX, RETRY_AFTER_SECONDS_MAX};
use weir_core::delivery::{self, NextState, Outcome, Verdict};
use weir_core::effect::{Effects, EmittedEvent, Message};
use weir_core::name::{HandlerName, SourceName};
use weir_core::retry::RetryPolicy;
use weir_core::route::RouteTable;
use weir_core::time::Timestamp;
use weir_engine::{Log, LogLevel, LogLine, RunReport, Version};
use weir_store::{AttemptRecord, Claim, NewEmit, NewMessage, NewReply, RoutedEffects, Settlement};

use super::responders::{self, REPLY_HEADERS};
use crate::routing;

/// A handler may ask for a wait this long, beyond what its policy plans.
const LONGEST_WAIT: Duration = Duration::from_secs(RETRY_AFTER_SECONDS_MAX as u64);

/// What decides, beside the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunContext<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) handler: &'a HandlerName,
    pub(crate) version: Version,
    pub(crate) started_at: Timestamp,
    pub(crate) policy: &'a RetryPolicy,
    pub(crate) routes: &'a RouteTable,
    /// For how long a reply is kept, where the handler is the responder of the event's source.
    pub(crate) keeps_reply: Option<Duration>,
}

/// The settlement of a run.
pub(crate) fn decide(
    facts: RunContext<'_>,
    mut report: RunReport,
    random: &mut impl Rng,
) -> Settlement {
    let RunContext { claim, policy, .. } = facts;
    let attempt = claim.fence.attempt;
    let reply = reply(&mut report, facts.keeps_reply);
    carry_hops(&mut report.effects.emits, claim.event.payload.hops());
    let next = delivery::decide(report.verdict(), attempt, policy, LONGEST_WAIT, random);
    let record = AttemptRecord {
        started_at: facts.started_at,
        duration: report.duration,
        outcome: report.outcome(),
        reason: report.reason().map(Into::into),
        version: Some(facts.version.0),
        log: log_text(&report.log),
        response: None,
    };
    let effects = match next {
        NextState::Processed => routed(report.effects, reply, facts.handler, facts.routes),
        NextState::Retry { .. } | NextState::DeadLetter => RoutedEffects::default(),
    };
    Settlement {
        delivery: claim.delivery,
        fence: claim.fence,
        attempt: record,
        next,
        effects,
        reads: report.reads,
    }
}

/// What to settle instead where the store finds a settlement impossible: the host's own failure, with no effects.
pub(crate) fn impossible(
    settlement: Settlement,
    why: &str,
    policy: &RetryPolicy,
    random: &mut impl Rng,
) -> Settlement {
    let again = Verdict::TryAgain { at_least: None };
    let attempt = settlement.fence.attempt;
    let next = delivery::decide(again, attempt, policy, LONGEST_WAIT, random);
    let reason = Some(format!("the store could not take what the run asked for: {why}").into());
    let attempt = AttemptRecord { outcome: Outcome::Internal, reason, ..settlement.attempt };
    Settlement { attempt, next, effects: RoutedEffects::default(), ..settlement }
}

/// What to settle instead where a run emits more than its line of events may lead to: given up, with no effects.
pub(crate) fn exhausted(settlement: Settlement, descendants: u64) -> Settlement {
    let reason = format!(
        "the line of events that this one belongs to has emitted {descendants} of at most {DESCENDANTS_MAX} and this \
         run asked for {} more; look for a circle of handlers, then replay",
        settlement.effects.emits.len()
    );
    let outcome = Outcome::DescendantsExhausted;
    let attempt = AttemptRecord { outcome, reason: Some(reason.into()), ..settlement.attempt };
    let effects = RoutedEffects::default();
    Settlement { attempt, next: NextState::DeadLetter, effects, ..settlement }
}

/// The reply as it goes out. A reply to nobody is dropped, so that a replay runs like the first time.
fn reply(report: &mut RunReport, keep: Option<Duration>) -> Option<NewReply> {
    let (reply, left_out) = responders::kept(report.effects.reply.take()?, keep?);
    for name in left_out {
        let message = format!(
            "the reply's header `{name}` is left out; a reply may have content-type, {}",
            REPLY_HEADERS.join(", ")
        );
        report.log.lines.push(LogLine { level: LogLevel::Warn, message: message.into() });
    }
    Some(reply)
}

/// What is emitted has come back to this hub as often as what was handled, so that a circle through handlers and the
/// network ends too.
fn carry_hops(emits: &mut [EmittedEvent], hops: u8) {
    if hops > 0 {
        for emit in emits {
            Arc::make_mut(&mut emit.payload).set_hops(hops);
        }
    }
}

fn routed(
    effects: Effects,
    reply: Option<NewReply>,
    handler: &HandlerName,
    routes: &RouteTable,
) -> RoutedEffects {
    let source = SourceName::emitted_by(handler);
    RoutedEffects {
        reply,
        cancels: effects.cancels,
        messages: effects.messages.into_iter().map(message).collect(),
        emits: effects.emits.into_iter().map(|emit| routed_emit(emit, &source, routes)).collect(),
        state: effects.state,
    }
}

fn message(message: Message) -> NewMessage {
    let Message { id, destination, content, timing } = message;
    let delay = Duration::from_secs(timing.delay_seconds.into());
    NewMessage { id, destination, content, delay, key: timing.key }
}

fn routed_emit(emit: EmittedEvent, source: &SourceName, routes: &RouteTable) -> NewEmit {
    let EmittedEvent { id, kind, payload, timing } = emit;
    let routed = routing::routed(routes, source, &kind, None);
    let delay = Duration::from_secs(timing.delay_seconds.into());
    NewEmit { id, kind, payload, delay, key: timing.key, routed }
}

/// One line a line, each with its level: a message of several lines becomes several.
fn log_text(log: &Log) -> Option<Box<str>> {
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
        line("warn", "(the log was cut here or before, at its limit)");
    }
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use weir_core::delivery::Fence;
    use weir_core::effect::{Content, Reply, StateWrite, Timing};
    use weir_core::event::{Event, EventType};
    use weir_core::id::{DeliveryId, EventId, MessageId};
    use weir_core::name::{DestinationName, Target};
    use weir_core::payload::Payload;
    use weir_core::retry::Backoff;
    use weir_core::route::{Pattern, Subscription};
    use weir_core::state::ReadSet;
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
                content: Content::Own(Arc::clone(&payload)),
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
            retry_after: None,
            log: Log::default(),
            stderr_tail: String::new(),
            duration: Duration::from_millis(3),
            memory_peak: 1,
        }
    }

    fn failed(outcome: Outcome, again: bool) -> RunEnd {
        RunEnd::Failed { outcome, again, reason: "because".into() }
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
        let watching = |name: &str, pattern: &str| Subscription {
            target: Target::Handler(HandlerName::new(name).unwrap()),
            patterns: vec![Pattern::parse(pattern).unwrap()],
        };
        let routes = RouteTable::new([watching("watch", "@orders:late"), watching("all", "*:*")]);
        let facts = RunContext {
            claim,
            handler: &orders(),
            version: Version([7; 32]),
            started_at: Timestamp::from_millis(2),
            policy: &policy(),
            routes: &routes,
            keeps_reply,
        };
        decide(facts, report, &mut StdRng::seed_from_u64(0))
    }

    #[test]
    fn a_run_that_went_well_settles_with_all_it_asked_for() {
        let settlement = decided(report(RunEnd::Ok), 1);
        assert_eq!(settlement.next, NextState::Processed);
        assert_eq!(settlement.attempt.outcome, Outcome::Ok);
        assert_eq!(settlement.attempt.version, Some([7; 32]));
        let message = &settlement.effects.messages[0];
        assert_eq!((message.delay.as_secs(), message.key.as_deref()), (90, Some("late")));
        assert_eq!(settlement.effects.state.len(), 1);
    }

    #[test]
    fn what_a_handler_emits_is_routed_as_its_own_source() {
        let settlement = decided(report(RunEnd::Ok), 1);
        let routed = &settlement.effects.emits[0].routed;
        let targets: Vec<_> = routed.deliveries.iter().map(|d| d.target.to_string()).collect();
        assert_eq!(targets, ["handler:watch"], "a wildcard does not see it");
    }

    #[test]
    fn every_end_has_its_consequence_and_a_failure_has_no_effects_but_its_reads() {
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
    fn a_reply_is_kept_only_where_somebody_waits_for_it_and_with_few_headers() {
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
    fn a_wait_that_a_handler_asks_for_lengthens_the_planned_one() {
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
    fn an_impossible_settlement_is_the_hosts_failure_and_leaves_nothing_behind() {
        let settlement = decided(report(RunEnd::Ok), 1);
        let random = &mut StdRng::seed_from_u64(0);
        let settlement = impossible(settlement, "key is empty", &policy(), random);
        assert_eq!(settlement.attempt.outcome, Outcome::Internal);
        assert!(settlement.attempt.reason.unwrap().ends_with("key is empty"));
        assert!(settlement.effects.messages.is_empty() && settlement.effects.state.is_empty());
        assert_eq!(settlement.next, NextState::Retry { delay: Duration::from_secs(10) });
    }

    #[test]
    fn a_run_that_emits_past_its_lines_limit_is_given_up_with_what_to_do() {
        let settlement = exhausted(decided(report(RunEnd::Ok), 1), 10_000);
        assert_eq!(settlement.next, NextState::DeadLetter);
        assert_eq!(settlement.attempt.outcome, Outcome::DescendantsExhausted);
        let reason = settlement.attempt.reason.unwrap();
        assert!(reason.contains("10000 of at most 10000") && reason.contains("1 more"), "{reason}");
        assert!(settlement.effects.emits.is_empty() && settlement.effects.state.is_empty());
        assert_eq!(settlement.reads.keys.len(), 1);
    }

    #[test]
    fn what_is_emitted_has_come_as_often_as_what_was_handled() {
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
    fn each_line_of_the_log_carries_its_level() {
        let line = |level, message: &str| LogLine { level, message: message.into() };
        let lines = vec![line(LogLevel::Info, "one"), line(LogLevel::Error, "two\nthree")];
        let text = log_text(&Log { lines, truncated: true }).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], ["info\tone", "error\ttwo", "error\tthree"]);
        assert!(lines[3].starts_with("warn\t(the log was cut"));
        assert_eq!(log_text(&Log::default()), None);
    }
}
