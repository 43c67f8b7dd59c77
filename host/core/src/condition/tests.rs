//! Tests of expressions: their values, their mistakes and their bounds. One compares every value
//! with the evaluator of the `cel` crate.

use proptest::prelude::*;

use super::*;
use crate::event::{Category, EventFacts, EventType};
use crate::id::EventId;
use crate::name::SourceName;
use crate::payload::Payload;
use crate::time::Timestamp;

const BODY: &str = r#"{
    "amount": 1500, "rate": 1.5, "name": "Ada", "paid": true, "none": null, "big": 9007199254740993,
    "tags": ["a", "b"], "items": [{"id": 1, "price": 10}, {"id": 2, "price": 25.5}],
    "customer": {"id": "c7", "address": {"city": "Zürich"}}, "empty": {}
}"#;

fn on<T>(content_type: &str, body: &[u8], f: impl FnOnce(&LazyEvent<'_>) -> T) -> T {
    let (source, kind) = (SourceName::stored("shop"), EventType::new("orders/paid").unwrap());
    let mut payload = Payload::new(content_type, body.to_vec().into());
    payload.headers.push(("x-mode".into(), "live".into()));
    payload.headers.push(("weir-query".into(), "tenant=7&x=a+b".into()));
    f(&LazyEvent::new(EventFacts {
        id: Some(EventId::from_bits(7)),
        source: &source,
        kind: &kind,
        category: Some(Category::PaymentReceived),
        delivery_id: Some("d-1"),
        received_at: Timestamp::from_millis(1_790_000_000_000),
        payload: Some(&payload),
    }))
}

/// `yes`, or the clause that was false, or the reason of a failure after `!`.
fn decided(text: &str) -> String {
    let condition = match Condition::parse(text) {
        Ok(condition) => condition,
        Err(mistakes) => return format!("refused: {}", mistakes[0]),
    };
    on("application/json", BODY.as_bytes(), |event| match condition.false_clause(event) {
        Ok(None) => "yes".into(),
        Ok(Some(clause)) => clause.into(),
        Err(reason) => format!("!{reason}"),
    })
}

/// The value of an expression as JSON.
fn made(text: &str) -> String {
    let mut template = MessageTemplate::default();
    if let Err(mistakes) = template.set(TemplatePart::Body, &format!("[{text}]")) {
        return format!("refused: {}", mistakes[0]);
    }
    let shaped = on("application/json", BODY.as_bytes(), |event| template.shape(event));
    match shaped {
        Ok(shaped) => {
            let body = String::from_utf8(shaped.body.unwrap().to_vec()).unwrap();
            body[1..body.len() - 1].into()
        }
        Err(reason) => format!("!{reason}"),
    }
}

fn mistakes(text: &str) -> Vec<String> {
    let shown = |mistake: InvalidExpression| {
        let (line, column) = mistake.position(text);
        format!("{line}:{column} {mistake}")
    };
    Condition::parse(text).err().unwrap_or_default().into_iter().map(shown).collect()
}

#[test]
fn conditions_hold_for_what_is_true() {
    for text in [
        "event.body.amount > 1000 && event.headers[\"x-mode\"] == \"live\"",
        "event.source == 'shop' && event.type.startsWith('orders/')",
        "event.category == 'payment.received' && event.delivery_id == 'd-1'",
        "event.received_at > '2026-01-01T00:00:00.000Z'",
        "event.query.tenant == '7' && event.query['x'] == 'a b'",
        "'x-mode' in event.headers && !('x-other' in event.headers)",
        "event.body.tags.exists(t, t == 'b') && event.body.items.all(i, i.price >= 10)",
        "event.body.items.exists_one(i, i.id == 2)",
        "event.body.items.filter(i, i.price > 20).size() == 1",
        "has(event.body.customer.id) && !has(event.body.customer.phone)",
        "!has(event.body.none.x)",
        "event.body.name.matches('^A[a-z]+$') && event.body.name.lowerAscii() == 'ada'",
        "event.body.none == null && event.body.customer != null",
        "event.body.amount in [1, 1500] && 'name' in event.body",
        "event.body.missing == 1 || event.body.paid",
        "event.body.rate * 2 == 3 && event.body.amount / 7 == 214",
        "event.body.big == 9007199254740993 && event.body.big > 9007199254740992.0",
        "event.body.customer.address.city == 'Zürich' && size('Zürich') == 6",
        "(event.body.paid ? event.body.rate : 0.0) > 1.0",
        "event.body.empty == {} && event.body.tags == ['a', 'b']",
    ] {
        assert_eq!(decided(text), "yes", "{text}");
    }
}

#[test]
fn false_condition_names_the_clause_that_refused() {
    let text = "event.source == 'shop' && (event.body.amount < 10 || false) && event.body.x";
    assert_eq!(decided(text), "(event.body.amount < 10 || false)");
    assert_eq!(decided("event.body.nothing && event.source == 'x'"), "event.source == 'x'");
}

#[test]
fn failure_names_the_expression_and_what_is_missing() {
    for (text, reason) in [
        (
            "event.body.customer.phone == '1'",
            "`event.body.customer.phone == '1'`: event.body.customer has no field `phone`",
        ),
        ("event.headers['x-a'] == '1'", "event.headers has no key \"x-a\""),
        ("event.body.name > 5", "event.body.name is a string and the value is an int"),
        ("event.body.tags[7] == 'x'", "event.body.tags has 2 items, so none at 7"),
        ("event.body.name", "it gives a string, not true or false"),
        ("!event.body.name", "event.body.name is a string, not a bool"),
        ("event.body.none.x == 1", "event.body.none is null, so it has no field `x`"),
        ("event.body.amount / 0 == 1", "a division by zero"),
        ("event.body.amount.size() == 1", "size() does not take this: event.body.amount is an int"),
        ("event.body.items.all(i, i.sku == '')", "i has no field `sku`"),
        ("has(event.body.name.x)", "event.body.name is a string, which has no fields"),
        ("int(event.body.name) == 1", "int() takes a whole number: event.body.name is a string"),
    ] {
        let said = decided(text);
        assert!(said.starts_with('!') && said.contains(reason), "{text}: {said}");
    }
}

#[test]
fn mistakes_are_found_when_loaded_with_line_and_column() {
    for (text, expected) in [
        ("event.body.x ==", "1:16 is not CEL: mismatched input the end"),
        ("true &&\n  evnt.body.x", "2:3 there is no `evnt`"),
        ("event.bdy.x == 1", "1:6 an event has no `bdy`"),
        ("event.id == 'x'", "1:6 event.id is not known yet"),
        (
            "event.body.name.startWith('x')",
            "1:17 there is no function `startWith`; did you mean `startsWith`?",
        ),
        ("event.body.name.startsWith()", "1:17 x.startsWith(…) does not take these arguments"),
        ("event.body.amount + 1 > b'x'", "1:25 bytes are not supported"),
        ("'é' == event.typ", "1:13 an event has no `typ`"),
        ("event.body.name.matches('(')", "1:25 the pattern is not valid: unclosed group"),
        ("event.body.name.matches(event.type)", "the pattern of matches() must be a string"),
        ("event.body.name.matches('(a{1000}){1000}')", "1:25 the pattern is too large"),
        ("'é' == )", "1:8 is not CEL"),
        ("true && ", "1:9 an operand of && is missing"),
        ("'x'", "1:1 gives a string, not true or false"),
        ("true && [1]", "1:9 gives a list, not true or false"),
        ("", "1:1 is empty"),
        (
            "event.body.a.exists(x, x.b.exists(y, y == 1))",
            "is a walk over a list inside another walk",
        ),
    ] {
        let said = mistakes(text);
        let first = said.first().map_or("accepted", String::as_str);
        assert!(first.contains(expected), "{text:?}: {said:?}");
    }
    let two = mistakes("event.bdy == 1 &&\nevent.hdrs == 2");
    assert_eq!(two.iter().map(|m| &m[..3]).collect::<Vec<_>>(), ["1:6", "2:6"]);
}

#[test]
fn text_that_is_large_or_deep_is_refused() {
    let said = |text: &str| mistakes(text).first().cloned().unwrap_or_default();
    assert!(said(&"x".repeat(20_000)).contains("at most 16384 are allowed"));
    assert!(said(&"(".repeat(1000)).contains("deeper than 32 levels"));
    assert!(said(&format!("true{}", " || true".repeat(1100))).contains("tokens"));
    assert!(said(&format!("1{} == 1", " + 1".repeat(200))).contains("chains more than 64"));
    assert!(said(&format!("event.body{} == 1", ".a".repeat(300))).contains("chains more than 64"));
    assert!(!said(&format!("true{}", " ? true : true".repeat(200))).is_empty());
    assert_eq!(decided(&format!("true{}", " && true".repeat(400))), "yes");
    assert_eq!(decided(&format!("false{} || true", " || false".repeat(400))), "yes");
    assert_eq!(decided(&format!("{}true", "!".repeat(60))), "yes");
    assert_eq!(decided("[1, 2].exists(x, [3, 4].exists(y, x + y == 6))"), "yes");
}

#[test]
fn body_is_parsed_once_and_only_if_it_is_read() {
    on("application/json", BODY.as_bytes(), |event| {
        let on_type = Condition::parse("event.type == 'x'").unwrap();
        assert!(!on_type.reads_payload());
        on_type.false_clause(event).unwrap();
        assert!(!event.has_parsed_body());
        let on_body = Condition::parse("event.source == 'shop' && event.body.paid").unwrap();
        assert!(on_body.reads_payload());
        assert_eq!(on_body.false_clause(event), Ok(None));
        assert!(event.has_parsed_body());
    });
}

#[test]
fn evaluation_ends_at_its_budget_of_steps() {
    let list = format!("[{}0]", "0,".repeat(9_999));
    let decide = |text: &str, body: &str| {
        let condition = Condition::parse(text).unwrap();
        on("application/json", body.as_bytes(), |event| {
            condition.false_clause(event).map(|clause| clause.is_none()).map_err(String::from)
        })
    };
    assert_eq!(decide("event.body.all(x, x == 0)", &list), Ok(true));
    let many = (0..20).map(|n| format!("x == {n}")).collect::<Vec<_>>().join(" || ");
    let said = decide(&format!("!event.body.exists(x, x > 0 && ({many}))"), &list);
    assert_eq!(said, Ok(true), "what decides early costs little");
    let said = decide(
        &format!(
            "event.body.all(x, !(x > 0) && !(x < 0) && ({many} || true) && \
        [1,2,3,4,5].all(y, y > x))"
        ),
        &list,
    );
    assert!(said.clone().unwrap_err().contains("needs more than 200000 steps"), "{said:?}");
    let longer = format!("[{}0]", "0,".repeat(ITEMS_MAX));
    let said = decide("event.body.all(x, x == 0)", &longer).unwrap_err();
    assert!(said.contains("has 10001 items; at most 10000 are walked over"), "{said}");
    let big = format!("{{\"t\":\"{}\"}}", "x".repeat(1_000_000));
    let said = decide("event.body.t.matches('y')", &big).unwrap_err();
    assert!(said.contains("steps"), "{said}");
    let doubling = "[1,2,3,4,5,6,7,8,9,10].map(x, event.body.t + event.body.t).size() == 10";
    assert!(decide(doubling, &big).unwrap_err().contains("steps"));
}

#[test]
fn order_keys_are_strings_numbers_or_bools() {
    let key = |text: &str| {
        let key = OrderKey::parse(text).unwrap();
        on("application/json", BODY.as_bytes(), |event| key.key(event))
            .map(|key| key.map(String::from))
    };
    assert_eq!(key("event.body.customer.id"), Ok(Some("c7".into())));
    assert_eq!(key("event.source + ':' + string(event.body.amount)"), Ok(Some("shop:1500".into())));
    assert_eq!(key("event.body.paid"), Ok(Some("true".into())));
    assert_eq!(key("event.body.customer.phone.area"), Ok(None));
    assert_eq!(key("event.body.none"), Ok(None));
    assert!(key("event.body.tags").unwrap_err().contains("gives a list"));
    assert!(OrderKey::parse("[1]").is_err() && OrderKey::parse("event.id").is_err());
}

#[test]
fn message_is_made_of_the_event() {
    let mut template = MessageTemplate::default();
    let body = r#"{"text": event.body.name + " paid " + string(event.body.amount),
        "tags": event.body.tags.map(t, t + "!"), "all": event.body.customer, "n": event.body.big,
        "id": event.id}"#;
    template.set(TemplatePart::Body, body).unwrap();
    template.set(TemplatePart::Headers, r#"{"X-Amount": event.body.amount}"#).unwrap();
    let shaped = on("application/json", BODY.as_bytes(), |event| {
        let shaped = template.shape(event).unwrap();
        assert_eq!(shaped, template.shape(event).unwrap());
        shaped
    });
    let body = String::from_utf8(shaped.body.unwrap().to_vec()).unwrap();
    let id = EventId::from_bits(7);
    let expected = format!(
        r#"{{"text":"Ada paid 1500","tags":["a!","b!"],"all":{{"id":"c7","address":{{"city":"Zürich"}}}},"n":9007199254740993,"id":"{id}"}}"#
    );
    assert_eq!(body, expected);
    assert_eq!(shaped.content_type.as_deref(), Some("application/json"));
    assert_eq!(shaped.headers, [("x-amount".into(), "1500".into())]);
    template.set(TemplatePart::Body, "event.body.name").unwrap();
    template.set(TemplatePart::ContentType, "'text/' + 'csv'").unwrap();
    let shaped = on("application/json", BODY.as_bytes(), |event| template.shape(event).unwrap());
    assert_eq!(shaped.body.as_deref(), Some(&b"Ada"[..]));
    assert_eq!(shaped.content_type.as_deref(), Some("text/csv"));
}

#[test]
fn message_that_cannot_be_made_has_a_reason() {
    let shape = |part, text: &str| {
        let mut template = MessageTemplate::default();
        template.set(part, text).unwrap();
        let body = format!("{{\"t\":\"{}\"}}", "x".repeat(600_000));
        on("application/json", body.as_bytes(), |event| template.shape(event)).unwrap_err()
    };
    let said = shape(TemplatePart::Body, "{'text': event.body.title}");
    assert!(
        said.contains("no body: `{'text': event.body.title}`: event.body has no field `title`")
    );
    assert!(shape(TemplatePart::Body, "[event.body.t, event.body.t]").contains("1048576 bytes"));
    assert!(shape(TemplatePart::Body, "event.body.t + event.body.t").contains("1048576 bytes"));
    assert!(shape(TemplatePart::Headers, "{'x': 'a\\nb'}").contains("control character"));
    assert!(shape(TemplatePart::Headers, "{event.type: 'x'}").contains("not the name of a header"));
    assert!(shape(TemplatePart::ContentType, "event.type + '\\n'").contains("not a content type"));
    let mut template = MessageTemplate::default();
    for name in ["Host", "content-type", "webhook-id", "x y"] {
        assert!(template.set(TemplatePart::Headers, &format!("{{'{name}': 'x'}}")).is_err());
    }
    assert!(template.set(TemplatePart::ContentType, "[1]").is_err());
}

#[test]
fn path_stays_below_its_url_whatever_a_sender_writes() {
    let path = |text: &str, name: &str| {
        let mut template = MessageTemplate::default();
        template.set(TemplatePart::Path, text).unwrap();
        let body = serde_json::json!({ "name": name }).to_string();
        on("application/json", body.as_bytes(), |event| template.shape(event))
            .map(|shaped| shaped.path.unwrap())
    };
    let of = |name: &str| path("'/users/' + event.body.name", name).map(String::from);
    assert_eq!(of("ada").unwrap(), "/users/ada");
    assert_eq!(of("a b?x=1#y").unwrap(), "/users/a%20b%3Fx%3D1%23y".replace("%3D", "="));
    assert_eq!(of("%2e%2e/é\\").unwrap(), "/users/%252e%252e/%C3%A9%5C");
    assert_eq!(of("http://evil/").unwrap(), "/users/http://evil/");
    for name in ["..", "../admin", "a/./b", "..;/x", "a/.."] {
        assert!(of(name).unwrap_err().contains("`.` or `..`"), "{name}");
    }
    assert!(of(&"x".repeat(3_000)).unwrap_err().contains("2048 bytes"));
    assert!(path("event.body.name", "users").unwrap_err().contains("begin with a slash"));
    let mut template = MessageTemplate::default();
    assert!(template.set(TemplatePart::Path, "'users'").is_err());
    assert!(template.set(TemplatePart::Path, "{'a': 1}").is_err());
}

/// Expressions on which CEL's own evaluator must agree.
const SHARED: &[&str] = &[
    "1 + 2 * 3 - 4 / 2 % 3",
    "7 / -2",
    "-7 % 3",
    "1.5 + 2.5",
    "1.0 / 3.0",
    "-(-3)",
    "!true",
    "'a' + 'b'",
    "[1, 2] + [3]",
    "1 < 2 && 2.0 > 1.5",
    "1 == 1.0",
    "1 != 1.5",
    "'a' < 'b'",
    "'abc'.contains('b')",
    "'abc'.startsWith('ab')",
    "'abc'.endsWith('bc')",
    "size('héllo')",
    "size([1, 2, 3])",
    "{'a': 1}.a",
    "{'a': {'b': 2}}['a'].b",
    "[1, 2, 3][1]",
    "2 in [1, 2]",
    "'a' in {'a': 1}",
    "has({'a': 1}.a)",
    "has({'a': 1}.b)",
    "[1, 2, 3].exists(x, x > 2)",
    "[1, 2, 3].all(x, x > 0)",
    "[1, 2, 3].exists_one(x, x > 2)",
    "[1, 2, 3].filter(x, x > 1)",
    "[1, 2, 3].map(x, x * 2)",
    "[1, 2, 3].map(x, x > 1, x * 2)",
    "[[1], [2]].map(x, x[0])",
    "true ? 1 : 2",
    "false || true",
    "true || 1 / 0 == 1",
    "1 / 0 == 1 || true",
    "false && 1 / 0 == 1",
    "1 / 0 == 1 && false",
    "[1, 0].exists(x, 1 / x == 1)",
    "string(12)",
    "string(true)",
    "int('12')",
    "int(3.9)",
    "double('1.5')",
    "double(2)",
    "'abc'.matches('^a.c$')",
    "\"a\\u00e9\\n\\x41\"",
    "r'\\d' + \"\"\"q\"q\"\"\"",
    "null == null",
    "[1, 'a', null] == [1, 'a', null]",
    "{'a': [1]} == {'a': [1]}",
    "{'a': 1} == {'a': 2}",
    "1 == 'a'",
    "0x1F",
    "1e3",
    "[1, 2].map(x, [3].map(y, x + y))",
    "{'a': 1, 'b': 2}.exists(k, k == 'b')",
    "1 < 2 ? 'yes' : 'no'",
    "'é'.size()",
    "dyn(1) == 1.0",
    // Failures on both sides.
    "1 / 0",
    "[1][5]",
    "{'a': 1}.b",
    "'a' + 1",
    "!1",
    "'a' > 1",
    "int('x')",
    "9223372036854775807 * 3",
    "[1, 0].all(x, 1 / x == 1)",
    "size(1)",
    "{'a': 1}['b']",
];

#[test]
fn values_are_those_of_the_evaluator_of_cel() {
    for text in SHARED {
        let ours = made(text);
        let theirs = cel::Program::compile(text).map_err(|error| error.to_string()).and_then(|p| {
            let value = p.execute(&cel::Context::default()).map_err(|error| error.to_string())?;
            value.json().map_err(|error| error.to_string())
        });
        match theirs {
            Err(what) => assert!(ours.starts_with('!'), "{text}: {ours}, but CEL fails: {what}"),
            Ok(theirs) => {
                let ours: serde_json::Value = serde_json::from_str(&ours)
                    .unwrap_or_else(|_| panic!("{text}: {ours}, but CEL says {theirs}"));
                let number = |v: &serde_json::Value| v.as_f64();
                assert!(
                    ours == theirs || (ours.is_number() && number(&ours) == number(&theirs)),
                    "{text}: {ours}, but CEL says {theirs}"
                );
            }
        }
    }
}

/// Pieces of which texts are made that come close to being expressions.
const PIECES: &[&str] = &[
    "event",
    ".",
    "body",
    "headers",
    "has",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "&&",
    "||",
    "?",
    ":",
    "!",
    "-",
    "+",
    "==",
    "<",
    "in",
    "x",
    "1",
    "1.5",
    "0x",
    "1u",
    "'a'",
    "r'",
    "b'",
    "\\",
    "\n",
    "//",
    "exists",
    "map",
    ",",
    "é",
    "\u{1F980}",
    "matches",
    " ",
    "`",
    "'''",
    "null",
    "true",
    "@",
    "#",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused_and_never_panics(text in ".{0,80}") {
        let _ = decided(&text);
    }

    #[test]
    fn anything_like_an_expression_is_parsed_or_refused(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)
    ) {
        let text = pieces.concat();
        let _ = decided(&text);
        let _ = made(&text);
        for mistake in mistakes(&text) {
            prop_assert!(mistake.split_once(':').is_some());
        }
    }
}
