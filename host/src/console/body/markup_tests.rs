//! Reads markup as a browser would, for the tests of the viewer.

/// The text that a reader sees: tags removed, entities and named boxes read back, notes left out.
pub(super) fn text_of(html: &str) -> String {
    let (mut out, mut rest) = (String::new(), html);
    while let Some(at) = rest.find('<') {
        out.push_str(&unescaped(&rest[..at]));
        rest = &rest[at..];
        if let Some(note) = rest.strip_prefix("<s>") {
            rest = note.split_once("</s>").unwrap().1;
        } else if let Some(named) = rest.strip_prefix("<span class=\"u\">") {
            let (name, after) = named.split_once("</span>").unwrap();
            out.push(match name.strip_prefix("U+") {
                Some(code) => char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap(),
                None if name == "DEL" => '\u{7f}',
                None => '\u{1b}',
            });
            rest = after;
        } else {
            rest = rest.split_once('>').unwrap().1;
        }
    }
    out.push_str(&unescaped(rest));
    out
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains('>'), "{text}");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&amp;", "&")
}

/// Fails unless the markup consists of known tags, closed in order, and of escaped text.
pub(super) fn assert_well_formed(html: &str) {
    const TAGS: [&str; 26] = [
        "section", "header", "h2", "span", "nav", "a", "div", "p", "pre", "b", "i", "u", "s",
        "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "bdi", "mark", "button",
        "form", "input",
    ];
    let (mut open, mut rest) = (Vec::new(), html);
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a loose `>` in {}", &rest[..at]);
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "in {html}"),
            None => {
                let name = tag.split(' ').next().unwrap_or_default();
                assert!(TAGS.contains(&name), "unknown tag {tag}");
                let quotes = tag.matches('"').count();
                assert!(quotes.is_multiple_of(2) && !tag.contains(" on"), "in {tag}");
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && !rest.contains('>'), "{open:?}");
    let hides = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!html.chars().any(hides));
}
