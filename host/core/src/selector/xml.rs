//! XML elements in form fields, as the selector `xml:` reads them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use quick_xml::events::Event;

/// The text of the first element at `path` in base64-encoded XML. Only XML's own five entities are
/// expanded, and document types are ignored.
pub(crate) fn xml_text(base64: &[u8], path: &[Box<str>]) -> Option<String> {
    let dense: Vec<u8> = base64.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let xml = STANDARD_PAD_INDIFFERENT.decode(dense).ok()?;
    let mut reader = quick_xml::Reader::from_reader(xml.as_slice());
    // The number of open elements, and how many of them, from the outermost, match the path.
    let (mut depth, mut on_path) = (0usize, 0usize);
    let mut text = String::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => {
                let next = path.get(on_path).filter(|_| depth == on_path);
                if next.is_some_and(|name| **name == *element.name().as_ref()) {
                    on_path += 1;
                }
                depth += 1;
            }
            Event::Text(more) if on_path == path.len() && depth == on_path => text.push_str(&more),
            Event::GeneralRef(entity) if on_path == path.len() && depth == on_path => {
                text.push_str(quick_xml::escape::resolve_predefined_entity(&entity)?);
            }
            Event::End(_) if on_path == path.len() && depth == on_path => {
                let text = text.trim();
                return (!text.is_empty()).then(|| text.to_owned());
            }
            Event::End(_) => {
                depth = depth.checked_sub(1)?;
                on_path = on_path.min(depth);
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xml_element_is_found_by_its_path() {
        let of = |xml: &str| {
            let base64 = base64::engine::general_purpose::STANDARD.encode(xml);
            xml_text(base64.as_bytes(), &["n".into(), "kind".into()])
        };
        assert_eq!(
            of("<?xml version='1.0'?><n><o><kind>no</kind></o><kind> a&amp;b </kind></n>")
                .as_deref(),
            Some("a&b")
        );
        assert_eq!(of("<m><kind>no</kind></m>"), None);
        assert_eq!(of("<n><kind/></n>"), None);
        assert_eq!(of("<!DOCTYPE n [<!ENTITY x 'y'>]><n><kind>&x;</kind></n>"), None);
        assert_eq!(of(&"<n>".repeat(100_000)), None);
        assert_eq!(xml_text(b"no base64", &["n".into()]), None);
    }
}
