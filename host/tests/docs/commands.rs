//! Every block of commands in every document runs, in the order of the document, in one shell and
//! beside one hub.
//!
//! A block ```` ```sh ```` is run. A block ```` ```toml NAME ```` is written to the file NAME
//! first. A block of commands that cannot run here is a ```` ```console ```` with the reason behind
//! it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::document::{Block, Document};
use crate::stage::{Stage, WEIR, get};

/// The documents in which a user begins with nothing.
const FROM_NOTHING: [&str; 1] = ["README.md"];

/// A function of the shell that says whether the hub is ready.
const READY: &str = r#"ready() {
  { exec 3<>/dev/tcp/ADMIN; } 2>/dev/null || return 1
  printf 'GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n' "$(basename ADMIN)" >&3
  printf 'Connection: close\r\n\r\n' >&3
  grep -q '^HTTP/1.1 200' <&3
}
"#;

/// Runs the commands of a document.
fn run(path: &str) {
    let document = Document::read(path);
    let from_nothing = FROM_NOTHING.contains(&path);
    let stage = if from_nothing { Stage::empty() } else { Stage::with_hub() };
    let mut script = String::from("set -eu\n");
    // What runs in the background ends with the shell.
    script.push_str("trap 'kill $(jobs -p) 2>/dev/null || :; wait' EXIT\n");
    let ready = READY.replace("ADMIN", &stage.admin.to_string().replace(':', "/"));
    script.push_str(&ready);
    if !has("curl") {
        script.push_str("curl() { echo 'SKIPPED: there is no curl' >&2; }\n");
    }
    for block in document.blocks() {
        match block.language.as_str() {
            "sh" => append(&mut script, &stage, &block),
            "toml" if !block.note.is_empty() => {
                let text = stage.fill_in(&block.text);
                let is_config = block.note == "weir.toml";
                let text = if is_config { stage.at_own_ports(&text) } else { text };
                let name = &block.note;
                write!(script, "mkdir -p $(dirname {name})\ncat >{name} <<'END'\n{text}END\n")
                    .unwrap();
            }
            _ => {}
        }
    }
    stage.write("commands.sh", &script);
    let out = stage.command(Path::new("bash")).arg("commands.sh").output().unwrap();
    let (printed, complained) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if complained.contains("SKIPPED") {
        eprintln!("SKIPPED: {path}: there is no curl");
    }
    assert!(
        out.status.success(),
        "{path}: the command after the last `+` failed\n{printed}\n{complained}\n{}",
        stage.log()
    );
}

/// Adds the lines of a block. After a line that starts a hub, waits until it is ready, as a person
/// would.
fn append(script: &mut String, stage: &Stage, block: &Block) {
    let text = stage.fill_in(&block.text);
    let mut continued = false;
    for (index, line) in text.lines().enumerate() {
        if !continued {
            writeln!(script, "echo '+ line {}' >&2", block.line + index).unwrap();
        }
        writeln!(script, "{line}").unwrap();
        continued = line.ends_with('\\');
        if line.starts_with("weir serve") {
            script.push_str("until ready; do sleep 0.1; done\n");
        }
    }
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

#[test]
fn readme() {
    run("README.md");
}

#[test]
fn handlers() {
    run("host/docs/handlers.md");
}

#[test]
fn providers() {
    run("host/docs/providers.md");
}

#[test]
fn operating() {
    run("host/docs/operating.md");
}

#[test]
fn configuration() {
    run("host/docs/configuration.md");
}

#[test]
fn security() {
    run("host/docs/security.md");
}

#[test]
fn api() {
    run("host/docs/api.md");
}

#[test]
fn local() {
    run("host/docs/local.md");
}

/// The documents that the tests above run.
const RUN: [&str; 8] = [
    "README.md",
    "host/docs/api.md",
    "host/docs/configuration.md",
    "host/docs/handlers.md",
    "host/docs/local.md",
    "host/docs/operating.md",
    "host/docs/providers.md",
    "host/docs/security.md",
];

#[test]
fn no_document_with_commands_is_left_out() {
    for document in Document::all() {
        let runs = document.blocks().iter().any(|block| block.language == "sh");
        let listed = RUN.contains(&document.path.as_str());
        assert_eq!(runs, listed, "{}: add it to `RUN` with a test, or take it out", document.path);
    }
}

/// The hub of the documents answers, so that a command that fails is the document's fault.
#[test]
fn the_hub_of_the_documents_has_something_of_each_kind() {
    let stage = Stage::with_hub();
    assert_eq!(get(stage.admin, "GET", "/health/live", "").status, 200);
    assert_eq!(get(stage.ingress, "GET", "/webhook/none", "").status, 404);
    let text = "DEAD_LETTER_ID QUARANTINE_ID UNROUTED_ID EVENT_ID";
    let ids = stage.fill_in(text);
    for (id, prefix) in ids.split(' ').zip(["dlv_", "qrt_", "evt_", "evt_"]) {
        assert!(id.starts_with(prefix), "{ids}");
    }
}

/// The commands in the text, such as `weir events ID`, with their flags.
fn mentioned() -> BTreeSet<String> {
    let documents = Document::all();
    let lines = documents.iter().flat_map(Document::prose);
    let spans = lines.flat_map(|(_, line)| line.split('`').skip(1).step_by(2));
    spans.filter_map(|span| span.strip_prefix("weir ")).map(str::to_owned).collect()
}

#[test]
fn every_command_in_the_text_exists_with_its_flags() {
    let mentioned = mentioned();
    assert!(mentioned.len() > 10, "{mentioned:?}");
    for command in mentioned {
        let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        // What follows a flag may be its value.
        let words = command.split(' ').take_while(|word| is_word(word) && !word.starts_with('-'));
        let out = Command::new(WEIR).args(words).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "`weir {command}` in a document");
        for flag in command.split(' ').filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap();
            assert!(help.contains(flag) || flag == "--version", "`weir {command}`: no {flag}");
        }
    }
}
