//! XML answers as a list of their elements. Pure.

use quick_xml::Reader;
use quick_xml::events::Event;

/// The most elements that are open at the same time. An answer has six.
const DEPTH_MAX: usize = 32;

/// An element with the text directly in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// The names from the outermost element to this one, with slashes between them.
    pub(super) path: String,
    pub(super) text: String,
}

/// All elements in the order in which they end; none if it is not XML.
pub(super) fn elements(xml: &[u8]) -> Option<Vec<Element>> {
    let mut reader = Reader::from_reader(xml);
    let (mut open, mut ended) = (Vec::<Element>::new(), Vec::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                let name = start.name();
                let name: &str = name.as_ref();
                let path = match open.last() {
                    Some(around) => format!("{}/{name}", around.path),
                    None => name.to_owned(),
                };
                open.push(Element { path, text: String::new() });
                if open.len() > DEPTH_MAX {
                    return None;
                }
            }
            Event::Text(more) => {
                if let Some(inner) = open.last_mut() {
                    inner.text.push_str(&more);
                }
            }
            Event::GeneralRef(entity) => {
                let text = quick_xml::escape::resolve_predefined_entity(&entity);
                if let (Some(inner), Some(text)) = (open.last_mut(), text) {
                    inner.text.push_str(text);
                }
            }
            Event::End(_) => ended.push(open.pop()?),
            Event::Eof => return (open.is_empty() && !ended.is_empty()).then_some(ended),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_in_the_order_of_their_ends() {
        let found =
            elements(b"<?xml version=\"1.0\"?>\n<A x=\"1\"><B>b &lt;1&gt;</B><C/><D>d</D></A>");
        let found: Vec<_> = found.unwrap().into_iter().map(|it| (it.path, it.text)).collect();
        let expected = [("A/B", "b <1>"), ("A/D", "d"), ("A", "")];
        assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }

    #[test]
    fn other_text_has_no_elements() {
        let deep = "<a>".repeat(40);
        for other in ["", "{}", "not found", "<a><b></a>", "<a>", &deep] {
            assert_eq!(elements(other.as_bytes()), None, "{other}");
        }
    }
}
