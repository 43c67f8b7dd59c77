//! `index` of a source: the business keys of its events, by name and JSON pointer.

use weir_core::business_key::{KEYS_PER_SOURCE_MAX, KeyIndex, KeyName};
use weir_core::json_pointer::Pointer;

use super::tree::Section;

pub(super) fn read(section: &mut Section<'_>) -> KeyIndex {
    let given = section.texts("index").unwrap_or_default();
    if given.len() > KEYS_PER_SOURCE_MAX {
        let what = format!("has {} keys; a source has at most {KEYS_PER_SOURCE_MAX}", given.len());
        section.problem("index", what);
    }
    let mut keys = Vec::new();
    for (name, pointer) in given {
        let at = format!("index.{name}");
        match (KeyName::new(&name), Pointer::parse(&pointer)) {
            (Err(error), _) => section.problem(&at, error),
            (_, Err(error)) => section.problem(&at, format!("`{pointer}` is no place: {error}")),
            (Ok(_), Ok(pointer)) if pointer.as_str().is_empty() => {
                section.problem(&at, "names the whole body; write a place in it, as /order/id");
            }
            (Ok(name), Ok(pointer)) => keys.push((name, pointer)),
        }
    }
    KeyIndex::new(keys)
}
