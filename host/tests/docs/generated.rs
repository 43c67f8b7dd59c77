//! The parts of the documents that are made from the program: settings, providers, exit codes,
//! alerts.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;
use weir_core::alert::ALERT_TYPES;

use crate::document::Document;
use crate::stage::WEIR;

fn weir(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = Command::new(WEIR).args(args).current_dir(folder.path()).output().unwrap();
    assert!(out.status.success(), "weir {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn configuration_is_current() {
    let defaults = weir(&["config", "defaults"]);
    let (defaults, examples) = defaults.split_once("\n# ---").unwrap();
    let mut text = String::new();
    for section in sections(defaults) {
        let name = section.heading;
        write!(text, "## `{name}`\n\n```toml\n{}\n```\n\n", section.text.trim()).unwrap();
    }
    // What follows the line of dashes is commented out, because it has no defaults.
    let examples = examples.lines().skip(1).map(|line| line.strip_prefix("# ").unwrap_or(""));
    let examples: String = examples.map(|line| format!("{line}\n")).collect();
    let (_, examples) = examples.split_once("\n\n").unwrap();
    write!(text, "## Sources, destinations, routes and handlers\n\nThese have no defaults. ")
        .unwrap();
    write!(text, "This example shows their settings.\n\n```toml\n{}\n```\n", examples.trim())
        .unwrap();
    Document::read("host/docs/configuration.md").assert_generated("settings", &text);
}

/// A table of the file of defaults with those below it.
struct Section {
    heading: String,
    text: String,
}

/// Cuts the file of defaults before each top-level table, and before the comment above it.
fn sections(defaults: &str) -> Vec<Section> {
    let lines: Vec<&str> = defaults.lines().collect();
    let mut sections: Vec<Section> = Vec::new();
    let mut start = None;
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            continue;
        };
        let top = name.split('.').next().unwrap();
        if sections.last().is_some_and(|section| section.heading == top) {
            continue;
        }
        let comments = lines[..index].iter().rev().take_while(|line| line.starts_with('#')).count();
        if let (Some(from), Some(section)) = (start, sections.last_mut()) {
            section.text = lines[from..index - comments].join("\n");
        }
        start = Some(index - comments);
        sections.push(Section { heading: top.to_owned(), text: String::new() });
    }
    if let (Some(from), Some(section)) = (start, sections.last_mut()) {
        section.text = lines[from..].join("\n");
    }
    sections
}

#[test]
fn providers_are_current() {
    let listed = weir(&["providers", "list", "--json"]);
    let mut text = String::from(
        "| provider | for | schemes | signed | methods | asks for |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for line in listed.lines() {
        let provider: Value = serde_json::from_str(line).unwrap();
        let name = format!("`{}`", provider["name"].as_str().unwrap());
        let docs = provider["docs"].as_str().unwrap_or_default();
        let name = if docs.is_empty() { name } else { format!("[{name}]({docs})") };
        let about = provider["about"].as_str().unwrap().replace('|', "\\|");
        let (schemes, methods) = (words(&provider["schemes"]), words(&provider["methods"]));
        writeln!(
            text,
            "| {name} | {about} | {schemes} | {} | {methods} | {} |",
            signed(&provider["signed"]),
            asked(&provider["params"])
        )
        .unwrap();
    }
    Document::read("host/docs/providers.md").assert_generated("providers", &text);
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn words(list: &Value) -> String {
    let words: Vec<String> =
        items(list).iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect();
    words.join(", ")
}

/// The parts of a request that every scheme of a provider signs.
fn signed(schemes: &Value) -> String {
    let by_all =
        |fact: &str| !items(schemes).is_empty() && items(schemes).iter().all(|s| s[fact] == true);
    let body = items(schemes).iter().map(|scheme| scheme["body"].as_str().unwrap_or("nothing"));
    let mut bodies: Vec<String> = body.map(|body| format!("body: {body}")).collect();
    bodies.dedup();
    let facts = ["type", "id", "time"].into_iter().filter(|fact| by_all(fact)).map(str::to_owned);
    bodies.into_iter().chain(facts).collect::<Vec<_>>().join(", ")
}

fn asked(params: &Value) -> String {
    let name = |param: &Value| {
        let name = format!("`{}`", param["name"].as_str().unwrap());
        if param["required"] == true { name } else { format!("({name})") }
    };
    items(params).iter().map(name).collect::<Vec<_>>().join(", ")
}

#[test]
fn exit_codes_are_current() {
    let help = weir(&["--help"]);
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let mut text = String::from("| code | meaning |\n| --- | --- |\n");
    for line in codes.lines().take_while(|line| line.starts_with("  ")) {
        let (code, meaning) = line.trim().split_once(' ').unwrap();
        writeln!(text, "| {code} | {} |", meaning.trim()).unwrap();
    }
    Document::read("host/docs/operating.md").assert_generated("exit codes", &text);
}

#[test]
fn every_alert_is_listed() {
    let document = Document::read("host/docs/operating.md");
    let (_, section) = document.text.split_once("\n## Alerts\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed: Vec<&str> = rows.collect();
    let mut known = ALERT_TYPES.to_vec();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known, "the table of alerts in host/docs/operating.md");
}

/// Tables of weir.toml: a block that has one of them is a part of a configuration, and else of a
/// sidecar.
const TABLES: [&str; 8] = [
    "sources",
    "destinations",
    "route",
    "handlers",
    "server",
    "plugins",
    "responders",
    "telemetry",
];

/// The problems that `weir check` reports for a configuration, apart from missing secrets and
/// files.
fn mistakes(config: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weir.toml"), config).unwrap();
    let mut check = Command::new(WEIR);
    let out = check.args(["check", "--json"]).current_dir(folder.path()).output().unwrap();
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    // The last one follows from a file of [server.tls] that is not there.
    let missing = ["is not set", "cannot be read", "needs client_ca"];
    let is_missing = |what: &str| missing.iter().any(|sign| what.contains(sign));
    let problems = items(&said["problems"]).iter().map(|problem| {
        format!("{}: {}", problem["path"].as_str().unwrap(), problem["what"].as_str().unwrap())
    });
    problems.filter(|problem| !is_missing(problem)).collect()
}

#[test]
fn every_configuration_in_the_documents_passes_the_check() {
    let mut checked = 0;
    for document in Document::all() {
        for block in document.blocks().iter().filter(|block| block.language == "toml") {
            let table: toml::Table = block.text.parse().unwrap();
            if TABLES.iter().any(|name| table.contains_key(*name)) {
                let mistakes = mistakes(&block.text);
                let place = format!("{}:{}", document.path, block.line);
                assert!(mistakes.is_empty(), "{place}\n{}", mistakes.join("\n"));
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "only {checked} blocks were checked");
}
