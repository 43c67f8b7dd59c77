//! The cost of routing one event: without a condition, with conditions, and with the worst ones
//! that are accepted on the worst bodies. `cargo bench -p weir-core --bench condition` prints it,
//! and fails if an event that no condition concerns costs more than its budget, or if the worst
//! evaluation does.

#![expect(clippy::print_stdout, reason = "it is what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends where something it builds on fails")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_core::bounds::BODY_BYTES_MAX;
use weir_core::condition::{Condition, LazyEvent, OrderKey};
use weir_core::event::{EventFacts, EventType};
use weir_core::name::{DestinationName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::route::{Pattern, RouteTable, Rule, deliveries};
use weir_core::time::Timestamp;

const ROUNDS: u32 = 400;
const PER_ROUND: u32 = 200;
/// The permitted cost of routing an event by a rule without a condition.
const PLAIN_MAX: Duration = Duration::from_micros(2);
/// The permitted cost of one evaluation, without parsing the body.
const EVALUATION_MAX: Duration = Duration::from_millis(100);

/// The fastest of many rounds: other work on the machine only adds time.
fn fastest(rounds: u32, per_round: u32, mut one: impl FnMut()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        (0..per_round).for_each(|_| one());
        start.elapsed() / per_round
    };
    (0..rounds).map(round).min().unwrap_or_default()
}

fn facts<'a>(source: &'a SourceName, kind: &'a EventType, payload: &'a Payload) -> EventFacts<'a> {
    let at = Timestamp::from_millis(1_790_000_000_000);
    EventFacts { payload: Some(payload), ..EventFacts::new(source, kind, at) }
}

fn rule(when: Option<&str>, order_by: Option<&str>) -> Rule {
    let target = Target::Destination(DestinationName::new("ops").unwrap());
    Rule {
        condition: when.map(|text| Arc::new(Condition::parse(text).unwrap())),
        order_by: order_by.map(|text| Arc::new(OrderKey::parse(text).unwrap())),
        ..Rule::new("route:1", target, vec![Pattern::parse("github:issues").unwrap()])
    }
}

/// A body of 2 KB like that of an issue.
fn issue() -> Payload {
    let body = format!(
        r#"{{"action":"opened","issue":{{"id":1,"number":17,"title":"The gate sticks","state":"open",
        "user":{{"login":"ada","id":7}},"labels":[{{"name":"bug"}},{{"name":"urgent"}}],"body":"{}"}},
        "repository":{{"id":9,"full_name":"acme/river","owner":{{"login":"acme"}}}},
        "sender":{{"login":"ada","type":"User"}}}}"#,
        "It does not open below zero. ".repeat(58)
    );
    Payload::new("application/json", body.into())
}

fn ordinary() -> Duration {
    let (source, kind) = (SourceName::stored("github"), EventType::new("issues").unwrap());
    let payload = issue();
    println!("one event with a body of {} bytes, one rule that matches:", payload.body.len());
    let mut plain = Duration::MAX;
    for (what, when, order_by) in [
        ("no condition", None, None),
        ("when on the type", Some("event.type == 'issues'"), None),
        ("when on a header", Some("'content-type' in event.headers"), None),
        ("when on the body", Some("event.body.issue.user.login == 'ada'"), None),
        (
            "when on the body, four clauses",
            Some(
                "event.body.action == 'opened' && event.body.issue.number > 10 && \
                 event.body.issue.labels.exists(l, l.name == 'urgent') && \
                 event.body.repository.full_name.startsWith('acme/')",
            ),
            None,
        ),
        ("order_by on the body", None, Some("event.body.repository.id")),
    ] {
        let table = RouteTable::new([rule(when, order_by)]);
        let facts = facts(&source, &kind, &payload);
        assert_eq!(deliveries(table.route(&facts)).filter(|to| to.error.is_none()).count(), 1);
        let took = fastest(ROUNDS, PER_ROUND, || {
            black_box(deliveries(table.route(black_box(&facts))).count());
        });
        if when.is_none() && order_by.is_none() {
            plain = took;
        }
        println!("  {what:32} {took:>10.2?}");
    }
    plain
}

/// Bodies as large as a source may accept, and the conditions that make the most of them.
fn worst() -> Duration {
    let (source, kind) = (SourceName::stored("github"), EventType::new("issues").unwrap());
    let size = BODY_BYTES_MAX - 100;
    let filled = |unit: &str, end: &str| format!("[{}{end}]", unit.repeat(size / unit.len()));
    let items =
        |item: &str, count: usize| format!("[{}{item}]", format!("{item},").repeat(count - 1));
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let clauses = (0..150).map(|n| format!("x != {n}.5")).collect::<Vec<_>>().join(" && ");
    let bodies = [
        ("one string of 25 MiB", format!("{{\"t\":\"{}\"}}", "a".repeat(size))),
        ("25 MiB of numbers", filled("0,", "0")),
        ("999,000 numbers", items("0", 999_000)),
        (
            "499,000 keys",
            format!(
                "{{{}\"z\":0}}",
                (0..499_000).map(|n| format!("\"k{n}\":0,")).collect::<String>()
            ),
        ),
        ("10,000 items", items("0", 10_000)),
        ("10,000 texts of 2 KB", items(&format!("\"{}\"", "a".repeat(2000)), 10_000)),
        ("a text of 45 KB", format!("{{\"t\":\"{}\"}}", "ab".repeat(22_500))),
        ("nested 120 levels, 4,000 times", items(&deep, 4_000)),
    ];
    let conditions = [
        ("search", "event.body.t.contains('ab') || event.body.t.endsWith('b')".to_owned()),
        ("copy", "event.body.t.lowerAscii() + event.body.t.upperAscii() == ''".to_owned()),
        ("walk", format!("event.body.all(x, {clauses})")),
        (
            "walk and compare texts",
            "event.body.exists(x, event.body.exists_one(y, y == x))".to_owned(),
        ),
        (
            "map and compare",
            "event.body.map(x, [x, x, x]) == event.body.map(x, [x, x, x])".to_owned(),
        ),
        ("compare with itself", "event.body == event.body && event.body == event.body".to_owned()),
        ("last key", "event.body.z == 0 && event.body.z == 0 && event.body['z'] == 0".to_owned()),
        ("pattern", "event.body.t.matches('(a|b)*(ab|ba|aa){1,60}c[a-z]{1,200}$')".to_owned()),
        ("pattern of many states", "event.body.t.matches('(?:.?){40}c(?:.?){40}$')".to_owned()),
    ];
    println!("the worst that is accepted (the body is parsed once for all rules of an event):");
    let mut most = Duration::ZERO;
    for (what, body) in &bodies {
        let payload = Payload::new("application/json", body.clone().into());
        let facts = facts(&source, &kind, &payload);
        let touch = Condition::parse("event.body == null").unwrap();
        let parse = fastest(3, 1, || {
            let _ = black_box(touch.false_clause(&LazyEvent::new(facts)));
        });
        println!("  {what} ({} bytes): parse {parse:.2?}", body.len());
        let event = LazyEvent::new(facts);
        let _ = touch.false_clause(&event);
        for (name, text) in &conditions {
            let Ok(condition) = Condition::parse(text) else {
                println!("    {name:24} refused when loaded");
                continue;
            };
            let said = match condition.false_clause(&event) {
                Ok(None) => "true".into(),
                Ok(Some(_)) => "false".into(),
                Err(reason) => reason
                    .chars()
                    .rev()
                    .take(60)
                    .collect::<String>()
                    .chars()
                    .rev()
                    .collect::<String>(),
            };
            let took = fastest(3, 1, || {
                let _ = black_box(condition.false_clause(&event));
            });
            most = most.max(took);
            if took > Duration::from_micros(500) {
                println!("    {name:24} {took:>10.2?}  {said}");
            }
        }
    }
    println!("  slowest evaluation {most:.2?} of {EVALUATION_MAX:?}");
    most
}

fn main() {
    let plain = ordinary();
    let most = worst();
    assert!(plain <= PLAIN_MAX, "routing without a condition costs more than {PLAIN_MAX:?}");
    assert!(most <= EVALUATION_MAX, "an evaluation costs more than {EVALUATION_MAX:?}");
}
