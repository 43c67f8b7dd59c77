//! Attacks the reading of JSON bodies: types, ids, batches and their items, for any built-in
//! provider, and the JSON pointers that are the input's words after the first.
//!
//! Must hold: there are at most ten thousand events, with types of at most 200 bytes without
//! control characters, in the order of the body; each is JSON if there are several; and pointers
//! find what another reader finds, alone and together.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use weir_core::json_pointer::{Pointer, PointerSet, scalar_text};
use weir_fuzz::input::Input;
use weir_fuzz::sources::{proof, provider};

fuzz_target!(init: weir_fuzz::seeds::write("identify_json"), |text: &[u8]| {
    let input = Input::parse(text);
    let provider = provider(input.word(0));
    let facts = provider.facts(input.view());
    if let Ok(found) = provider.identify(&facts, proof(provider)) {
        weir_fuzz::identified(&found, input.view().payload());
    }
    point(&input.words[input.words.len().min(1)..], input.body);
});

fn point(words: &[&str], json: &[u8]) {
    let pointers: Vec<_> = words.iter().filter_map(|word| Pointer::parse(word).ok()).collect();
    let set = PointerSet::new(pointers.iter().cloned());
    let together = set.lookup(json);
    // A reader that builds the whole document, as far as it can: its limits of depth and numbers
    // are lower.
    let whole: Option<Value> = serde_json::from_slice(json).ok();
    assert!(whole.is_none() || together.is_ok(), "not read: {}", json.escape_ascii());
    let Ok(together) = together else { return };
    // In a text that is not JSON, one reader may see the fault and another not.
    let text = json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json);
    let is_json = serde_json::from_slice::<IgnoredAny>(text).is_ok();
    for pointer in &pointers {
        let found = together[set.index_of(pointer).expect("it is in the set")];
        // Alone, an unreadable value is an error; in a set, it is absent.
        let alone = pointer.find(json).unwrap_or_default();
        if is_json {
            assert_eq!(alone.map(RawValue::get), found.map(RawValue::get), "{pointer}");
        }
        let Some(whole) = &whole else { continue };
        let there = whole.pointer(pointer.as_str());
        let here = found.map(|raw| serde_json::from_str::<Value>(raw.get()).expect("JSON"));
        assert_eq!(here.as_ref(), there, "{pointer}");
        let scalar = found.and_then(scalar_text);
        match there {
            Some(Value::String(text)) => assert_eq!(scalar.as_deref(), Some(text.as_str())),
            Some(Value::Number(_) | Value::Bool(_)) => assert!(scalar.is_some()),
            _ => assert_eq!(scalar, None),
        }
    }
}
