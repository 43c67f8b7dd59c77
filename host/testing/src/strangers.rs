//! Bodies that strangers may send: each would do something if anything on its way to a page, a
//! terminal or the log took it for more than text.

/// Text that clears a terminal, sets its title and answers for its keyboard.
pub const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[6n\u{9b}31m\u{8}\u{85}";
/// Text that shows itself in another order, and parts that have no width.
pub const HIDDEN: &str = "invoice\u{202e}fdp.exe\u{2066}\u{200b}\u{feff}\u{2028}line";

/// The short bodies, each with its name.
pub fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let json = |text: &str| serde_json::json!({ "name": text }).to_string().into_bytes();
    vec![
        ("script", json("<script>document.title='owned'</script>")),
        ("image", json("<img src=x onerror=\"document.title='owned'\">")),
        (
            "prototype",
            br#"{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}"#
                .to_vec(),
        ),
        ("hidden", format!("{{\"file\":\"{HIDDEN}\",\"zero\":\"a\u{200b}b\"}}").into_bytes()),
        ("escapes", json(ESCAPES)),
        ("bare escapes", ESCAPES.as_bytes().to_vec()),
        ("tags", b"</script></style></title><script>document.title='owned'</script>".to_vec()),
        ("no text", b"\xff\xfe\x00<script>document.title='owned'</script>\x9c\x1b[2J".to_vec()),
        (
            "address",
            br#"{"url":"javascript:document.title='owned'","n":9007199254740993123}"#.to_vec(),
        ),
        ("quotes", b"' onmouseover='document.title=1' x='".to_vec()),
        ("lines", json("one\r\n2026-01-15T09:30:10Z ERROR forged=true\u{b}\u{c}two")),
    ]
}

/// The long ones: as large as GitHub's may be, and nested as deep as nothing should read.
pub fn long_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let begin = format!("{{\"escapes\":{},\"filler\":\"", serde_json::json!(ESCAPES));
    let filler = "x\u{202e}y".repeat((25 * 1024 * 1024 - begin.len() - 16) / 5);
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    vec![("25 MiB", format!("{begin}{filler}\"}}").into_bytes()), ("deep", deep.into_bytes())]
}

/// The first character that a terminal or a reader of lines could take for more than text.
pub fn first_active(text: &str) -> Option<char> {
    let is_active = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().find(|c| is_active(*c))
}
