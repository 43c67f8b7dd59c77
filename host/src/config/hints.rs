//! Hints for common mistakes of users of other formats. Pure text.

use super::DEFAULTS;

/// The hint for a line that is not TOML, if the mistake is known.
pub(super) fn hint_for_line(line: &str) -> Option<&'static str> {
    let line = line.trim();
    if line.contains(['“', '”', '‘', '’']) {
        return Some("write plain quotes, \" and not “ or ”");
    }
    if line.starts_with("- ") || line.starts_with('{') && line.ends_with(['{', ',']) {
        return Some(
            "this file is TOML, not YAML or JSON; `weir config defaults` prints one to start with",
        );
    }
    if line.starts_with("//") || line.starts_with(';') {
        return Some("a comment starts with #");
    }
    if line.starts_with('[') {
        return Some(
            "a table is one line such as [server] or [sources.github], a route is [[route]]",
        );
    }
    let key = |text: &str| {
        let text = text.trim();
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    match (line.split_once('='), line.split_once(':')) {
        (None, Some((before, _))) if key(before) => Some("write key = value, with = and not :"),
        (Some((before, value)), _) if key(before) => hint_for_value(value.trim()),
        (Some((before, _)), _) if before.trim().contains(' ') => {
            Some("a key has no spaces; write key = value")
        }
        (None, None) if key(line) => Some("write key = value"),
        _ => None,
    }
}

fn hint_for_value(value: &str) -> Option<&'static str> {
    let first = value.chars().next();
    let quoted = value.starts_with(['"', '\'']);
    let mark = value.chars().next().unwrap_or(' ');
    match first {
        None => Some("the value after = is missing"),
        Some('{' | '[') if value.contains(':') && !value.contains('=') => {
            Some("inside { } write key = value too, with = and not :")
        }
        Some('{' | '[') => Some("close every bracket and quote on this line"),
        Some('$') => Some("variables are not expanded; a secret is { env = \"NAME\" }"),
        _ if quoted && value.matches(mark).count() % 2 == 1 => Some("the quote is not closed"),
        _ if quoted => Some("write one value on a line; what follows is a comment only after #"),
        _ => Some("text needs quotes, such as key = \"value\""),
    }
}

/// The table that has a key of this name in the defaults or their examples.
pub(super) fn table_of_key(key: &str) -> Option<String> {
    let mut table = String::new();
    let mut found: Vec<String> = Vec::new();
    for line in DEFAULTS.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.trim_start_matches('[').split(']').next().unwrap_or_default();
            // The examples have example names.
            let mut parts = name.split('.');
            let (first, rest) = (parts.next().unwrap_or_default(), parts.next());
            let own = ["sources", "destinations", "handlers"].contains(&first);
            table = match (own, rest) {
                (true, Some(_)) => {
                    let more: String = parts.map(|part| format!(".{part}")).collect();
                    format!("[{first}.NAME{more}]")
                }
                _ if line.starts_with("[[") => format!("[[{name}]]"),
                _ => format!("[{name}]"),
            };
        } else if line.split_once(" = ").is_some_and(|(name, _)| name == key) && !table.is_empty() {
            found.push(table.clone());
        }
    }
    // A key of several tables shows nothing about the intended one.
    found.dedup();
    let [home] = &found[..] else { return None };
    Some(home.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_of_other_formats_get_a_hint() {
        for (line, wanted) in [
            ("listen = 127.0.0.1:8080", "text needs quotes"),
            ("listen: \"127.0.0.1:8080\"", "with = and not :"),
            ("provider = “github”", "plain quotes"),
            ("secrets = [{ env: \"A\" }]", "inside { }"),
            ("url = \"https://a", "the quote is not closed"),
            ("url = ", "the value after = is missing"),
            ("secret = $SECRET", "variables are not expanded"),
            ("// a comment", "a comment starts with #"),
            ("- name: github", "not YAML"),
            ("[server", "a table is one line"),
            ("body limit = 3", "a key has no spaces"),
        ] {
            let said = hint_for_line(line).unwrap_or_default();
            assert!(said.contains(wanted), "{line}: {said}");
        }
    }

    #[test]
    fn a_misplaced_key_gets_its_table_as_hint() {
        for (key, table) in [
            ("max_connections", "[server]"),
            ("allowed_hosts", "[admin]"),
            ("memory_ceiling", "[runs]"),
            ("attempt_life", "[retention]"),
            ("provider", "[sources.NAME]"),
            ("algorithm", "[sources.NAME.signature]"),
            ("reply_as", "[destinations.NAME]"),
            ("to", "[[route]]"),
            ("grant", "[handlers.NAME]"),
        ] {
            let home = table_of_key(key);
            assert_eq!(home.as_deref(), Some(table), "{key}");
        }
        for key in ["nonsense", "url", "public_url"] {
            assert_eq!(table_of_key(key), None, "{key}");
        }
    }
}
