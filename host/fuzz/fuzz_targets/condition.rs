//! Attacks the parser and the evaluation of expressions: conditions, order keys and messages.
//!
//! Must hold: a refused text has a mistake with a place inside it; an accepted one is evaluated on
//! any body, with the same result each time. Input: the expression, a line `---`, the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::condition::{Condition, LazyEvent, MessageTemplate, OrderKey, TemplatePart};
use weir_core::event::{EventFacts, EventType};
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

fuzz_target!(init: weir_fuzz::seeds::write("condition"), |input: &[u8]| {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (text, body) = input.split_once("\n---\n").unwrap_or((input, "{\"a\":[1,{\"b\":\"c\"}]}"));
    let (source, kind) = (SourceName::stored("github"), EventType::new("push").unwrap());
    let payload = Payload::new("application/json", body.to_owned().into());
    let facts = EventFacts {
        payload: Some(&payload),
        ..EventFacts::new(&source, &kind, Timestamp::from_millis(1))
    };
    let (one, two) = (LazyEvent::new(facts), LazyEvent::new(facts));
    match Condition::parse(text) {
        Ok(condition) => assert_eq!(condition.false_clause(&one), condition.false_clause(&two)),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(!mistake.what.is_empty() && mistake.at <= text.len());
                assert!(mistake.position(text) >= (1, 1));
            }
        }
    }
    if let Ok(key) = OrderKey::parse(text) {
        assert_eq!(key.key(&one), key.key(&two));
    }
    let mut template = MessageTemplate::default();
    if template.set(TemplatePart::Body, text).is_ok() {
        let _ = template.set(TemplatePart::Headers, text);
        let _ = template.set(TemplatePart::Path, text);
        assert_eq!(template.shape(&one), template.shape(&two));
    }
});
